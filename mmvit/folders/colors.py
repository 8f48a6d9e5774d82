"""Colors of classes that can be told apart, also by color-blind people."""

Color = tuple[int, int, int]

# The first seven are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), in the order in which the first two,
# three, ... differ most; each other is the color that differs most from those before. The difference is the smallest
# one in CAM02-UCS for full color vision, deuteranopia, protanopia and tritanopia (Machado et al., 2009).
_COLORS = [
    '56b4e9', 'd55e00', 'f0e442', '0072b2', 'e69f00', '009e73', 'cc79a7', 'b4ffd2', 'b4c387', '965a3c', '9678ff',
    'e1d2ff', 'b42d78', 'a5d2c3', 'd2f096', '873cff', '96a55a', 'c32d00', 'd2a5c3', '87b496', 'a5784b', 'd200c3',
    'ff69d2', '87fff0', 'e1c34b', '966996', '4b785a', 'f0783c', 'ff87ff', '0fe1e1', 'a53c96', '9696c3']


def class_color(label: int) -> Color:
    """Returns the RGB color of a class that has no color of its own; colors repeat after 32 classes."""
    red, green, blue = bytes.fromhex(_COLORS[label % len(_COLORS)])
    return red, green, blue


def class_palette(number: int) -> list[Color]:
    """Returns the colors of the first ``number`` classes."""
    return [class_color(label) for label in range(number)]
