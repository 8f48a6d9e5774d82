"""The base of what runs an operator's kernels."""
from torch import Tensor


class Backend:
    """Plain PyTorch, which runs everything; subclasses are other backends."""
    name = 'reference'

    def why_not(self, x: Tensor) -> str | None:
        """Returns why kernels can't run on the tensor's device and in its dtype, or None if they can."""
        return None
