"""Pictures of maps, read back by Pillow."""

from __future__ import annotations

import base64
import io
import math

import pytest
from PIL import Image

from pytest_pan.charts.heat import heat_map


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def test_each_cell_is_a_square_of_one_colour_from_dark_to_light() -> None:
    found = picture(heat_map([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    assert found.size == (168, 112)
    dark, middle, light = (sum(found.getpixel((x, 5))) for x in (5, 60, 160))
    assert dark < middle < light
    assert found.getpixel((5, 5)) == found.getpixel((50, 50)) == found.getpixel((160, 100))


@pytest.mark.parametrize("values", [[[-1.0, 0.0, 0.5]], [[-0.5, 0.0, 1.0]]])
def test_two_sided_pictures_are_white_at_zero_whatever_the_ends(values: list[list[float]]) -> None:
    found = picture(heat_map(values, is_two_sided=True))
    below, zero, above = (found.getpixel((x, 5)) for x in (5, 168, 330))
    assert min(zero) > 240
    assert below[2] > below[0]
    assert above[0] > above[2]


def test_cells_without_a_number_are_grey_and_equal_cells_do_not_divide_by_zero() -> None:
    found = picture(heat_map([[math.nan, 3.0], [3.0, 3.0]]))
    assert found.getpixel((5, 5)) == (128, 128, 128)
    assert picture(heat_map([[math.inf]])).getpixel((0, 0)) == (128, 128, 128)
