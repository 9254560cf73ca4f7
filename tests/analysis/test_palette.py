import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex, to_rgb

from evalrun.core import palette
from evalrun.core.palette import model_colors


def lightness(color):
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), to_rgb(color), strict=True))


def test_the_stops_are_those_of_viridis():
    last = len(palette._STOPS) - 1
    assert [to_hex(mpl.colormaps["viridis"](i / last)) for i in range(last + 1)] == palette._STOPS


@pytest.mark.parametrize("count", range(2, 13))
def test_lightness_keeps_the_order_of_sizes_in_grey(count):
    sizes = [10.0**i for i in range(count)]
    on_light = [lightness(color) for color in model_colors(sizes)]
    on_dark = [lightness(color) for color in model_colors(sizes, dark=True)]
    assert on_light == sorted(on_light, reverse=True)
    assert on_dark == sorted(on_dark)
    assert len(set(model_colors(sizes))) == count


def test_order_and_ties():
    small, large = model_colors([70e6, 12e9])
    assert model_colors([12e9, 70e6, 12e9]) == [large, small, large]
    assert model_colors([5]) == [large]
    assert model_colors([]) == []
