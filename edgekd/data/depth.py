"""Conversion of pictures to 8 bits: from integers of 16 or 32 bits, and from floats.

Of colours with 16 bits, Pillow keeps only the upper 8. If the values have 14 bits or fewer, the lower bits are needed.
Then the picture is read a second time with the order of its bytes reversed, which gives the lower 8 bits.
"""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

_DEPTHS = (8, 10, 12, 14, 16)  # numbers of bits that cameras and scanners use
_BITS, _MAXIMUM, _PLANES, _SAMPLE_FORMAT, _SIGNED_MAXIMUM = 258, 281, 284, 339, 341  # TIFF tags
_UNSIGNED = 1
_WIDE = re.compile(r"(?<=;16)[BLN]")  # in Pillow's names of raw formats: big-endian, little-endian, native
_REVERSED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_STRIP = 2**18  # pixels converted at a time; for a whole large picture, the floats would take gigabytes
_FAINT = 1 / 16  # if all floats are below this, white is not taken to be 1


def is_deep(image: Image.Image) -> bool:
    """Whether the values are 16-bit or 32-bit integers, or floats."""
    return image.mode.startswith(("I", "F"))


def to_grey(image: Image.Image) -> Image.Image:
    """Convert a picture to grey with 8 bits.

    White is the largest value that the file names. If it names none, white is guessed from the picture's values.

    Raises:
        ValueError: no value is finite.
    """
    unsigned = image.mode == "I" and _first(image, _SAMPLE_FORMAT) == _UNSIGNED

    def values_of(strip: Any) -> Any:
        return strip.view(np.uint32) if unsigned else strip

    return _eight_bits("L", (image,), values_of, _said(image))


def has_wide_colours(image: ImageFile) -> bool:
    """Whether the file has 16 bits for each colour, of which Pillow reads only the upper 8."""
    return not is_deep(image) and any(_WIDE.search(str(tile.args)) for tile in image.tile)


def is_misread(image: ImageFile) -> bool:
    """Whether it is a TIFF with 16-bit colours in separate planes, whose bytes Pillow takes for values."""
    tags = getattr(image, "tag_v2", {})
    return (tags.get(_PLANES), _first(image, _BITS)) == (2, 16) and any(
        isinstance(tile.args, tuple) and tile.args[0] in ("R", "G", "B") for tile in image.tile
    )


def read_lower_halves(image: ImageFile) -> None:
    """Make a picture with wide colours, which must not be loaded yet, give the lower 8 bits instead of the upper 8."""
    image.tile = [tile._replace(args=_reversed(tile.args)) for tile in image.tile]


def _reversed(args: Any) -> Any:
    if isinstance(args, tuple):
        return (_reversed(args[0]), *args[1:])
    return _WIDE.sub(lambda order: _REVERSED[order[0]], args) if isinstance(args, str) else args


def wide_to_rgb(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Make an RGB picture of 8 bits from two RGB pictures with the upper and the lower halves of its colours.

    White is found as in `to_grey`.
    """

    def values_of(upper: Any, lower: Any) -> Any:
        return upper.astype(np.uint16) << 8 | lower

    return _eight_bits("RGB", (upper, lower), values_of, _said(upper))


def _said(image: Image.Image) -> float | None:
    """The largest possible value according to the tags of a TIFF; None: they do not say."""
    for tag in (_SIGNED_MAXIMUM, _MAXIMUM):
        if isinstance(value := _first(image, tag), int | float) and value > 0:
            return float(value)
    bits = _first(image, _BITS)
    return float(2**bits - 1) if isinstance(bits, int) and 8 <= bits < 16 else None


def _first(image: Image.Image, tag: int) -> Any:
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _eight_bits(
    mode: str, parts: tuple[Image.Image, ...], values_of: Callable[..., Any], said: float | None
) -> Image.Image:
    """Scale values of any range to 0..255.

    Integers with 16 bits lose their lower 8 bits, those with 10, 12 or 14 bits their lowest 2, 4 or 6.

    Args:
        mode: Pillow's mode of the result.
        parts: pictures of equal size.
        values_of: a function that makes the values of a strip from the same strip of each part.
        said: the largest possible value, if the file names it.

    Raises:
        ValueError: no value is finite.
    """
    low, high, kind = np.inf, -np.inf, ""
    for _, strip in _strips(parts):
        values = values_of(*strip)
        kind = values.dtype.kind
        finite = values[np.isfinite(values)] if kind == "f" else values
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise ValueError("no value of the picture is a number")
    white = said if said is not None and said >= high else _guessed(low, high, kind == "f")
    bits, black = int(white).bit_length(), min(low, 0.0)
    shift = bits - 8 if kind in "iu" and low >= 0 and bits >= 8 and white == 2**bits - 1 else None
    result = Image.new(mode, parts[0].size)
    for top, strip in _strips(parts):
        values = values_of(*strip)
        if shift is None:
            scaled = np.nan_to_num(values.astype(np.float64), nan=black, posinf=white, neginf=black)
            values = np.rint((scaled - black) / (white - black or 1.0) * 255).clip(0, 255)
        else:
            values = values >> shift
        result.paste(Image.fromarray(values.astype(np.uint8)), (0, top))
    return result


def _strips(parts: tuple[Image.Image, ...]) -> Iterator[tuple[int, list[Any]]]:
    """Divide the parts into strips of rows; yields the first row of a strip, and its values in each part."""
    width, height = parts[0].size
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        yield top, [np.asarray(part.crop(box)) for part in parts]


def _guessed(low: float, high: float, is_float: bool) -> float:
    """Guess the largest possible value from the range of the values: by the smallest usual bit depth that fits."""
    if low < 0:
        return high
    if is_float and high <= 1:
        return 1.0 if high > _FAINT else high
    return next((2.0**bits - 1 for bits in _DEPTHS if high < 2**bits), high)
