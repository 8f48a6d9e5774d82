"""matplotlib without a display."""
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402


def save_figure(figure: plt.Figure, path: str, **options) -> None:
    """Saves a figure and closes it."""
    figure.savefig(path, **options)
    plt.close(figure)
