"""Picture files: which files in a folder are pictures, and how a picture is decoded."""

import io
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgekd.data.depth import has_wide_colours, is_deep, is_misread, read_lower_halves, to_grey, wide_to_rgb
from edgekd.data.stripping import without_metadata

log = logging.getLogger("edgekd")

_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}  # Pillow starts a program, or finds no pixels
_OF_SYSTEMS = {  # files and folders that operating systems leave behind
    *("lost+found", "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"),
    *("Thumbs.db", "ehthumbs.db", "desktop.ini"),
}
_ORIENTATION = 0x0112  # an EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DARK = 64  # of 255; if the upper halves of all 16-bit colours are below this, the colours may have 14 bits or fewer


class UnreadableError(Exception):
    """A picture cannot be decoded; the message names it and gives the reason."""


def is_of_system(path: "Path | os.DirEntry[str]") -> bool:
    """Whether it is hidden, or is left behind by an operating system: then it is skipped without a message."""
    return path.name.startswith(".") or path.name in _OF_SYSTEMS


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, recognised by their suffixes, sorted by name.

    A warning counts what was left out. Hidden files, and those that operating systems leave behind, are not counted.
    """
    entries = sorted((p for p in folder.iterdir() if not is_of_system(p)), key=lambda p: p.name)
    left_out = {path: why for path in entries if (why := _no_picture(path))}
    if left_out:
        counts = Counter(left_out.values()).most_common()
        log.warning("%s: left out %s", folder, ", ".join(f"{number} {why}" for why, number in counts))
    return [path for path in entries if path not in left_out]


def _no_picture(path: Path) -> str | None:
    """The reason why `path` is not a picture to read; None if it is one."""
    if path.is_dir():
        return "folder(s) in it, which are not searched"
    if not path.exists():
        return "dead link(s)"
    if not path.is_file():
        return "thing(s) that are no files"
    if path.suffix.lower() not in suffixes():
        return f"file(s) of a kind that is not read ({path.suffix.lower() or 'no suffix'})"
    return None


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The names, in Pillow, of the formats that are read."""
    Image.init()
    return tuple(sorted(Image.OPEN.keys() - _NO_PICTURES))


@lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read, in lower case, with the dot."""
    known = formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def open_picture(path: Path, size: int) -> Image.Image:
    """Decode a picture as `decode` does, and log the remarks about it.

    Raises:
        UnreadableError: the file is not a picture, is damaged, or has too many pixels.
    """
    image, remarks = decode(path, size)
    tell(remarks)
    return image


def decode(path: Path, size: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a picture as RGB, and turn it upright by its EXIF tag.

    Of several frames or pages, the first is taken. An alpha channel is dropped, a grey channel is repeated, and values
    with more than 8 bits are scaled.

    Args:
        path: the picture file.
        size: the number of pixels to which `fitting.fit` will resize it; large photos are decoded smaller.

    Returns:
        The picture, and remarks about it, for `tell`.

    Raises:
        UnreadableError: the file is not a picture, is damaged, or has too many pixels.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image = _decoded(path, size)
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged files
        raise UnreadableError(f"{path}: {_reason(error)}") from error
    return image, tuple(_remark(path, warning) for warning in caught)


def tell(remarks: Iterable[str]) -> None:
    """Log the remarks of `decode`, each only once: some hold for all pictures of a folder, and name the folder."""
    for remark in remarks:
        _told(remark)


def _decoded(path: Path, size: int) -> Image.Image:
    try:
        return _decode(path, size)
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception:  # perhaps only the metadata is damaged
        bare = without_metadata(path)
        if bare is None:
            raise
        return _decode(io.BytesIO(bare), size)


def _decode(file: Path | io.BytesIO, size: int) -> Image.Image:
    with Image.open(file, formats=formats()) as image:
        # Large photos are decoded at 1/2, 1/4 or 1/8, but not below twice the size. At 12 megapixels this is 4
        # times as fast.
        image.draft(None, (2 * size, 2 * size))
        if is_misread(image):
            raise ValueError("its colours of 16 bits lie in planes, which Pillow misreads; save it as PNG")
        wide = has_wide_colours(image)
        if image.format == "TIFF" and getattr(image, "is_animated", False):
            warnings.warn("of a TIFF with several pages only the first is read", stacklevel=2)
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        picture = _rgb(image)
    if wide and max(high for _, high in picture.getextrema()) < _DARK:  # type: ignore[misc]  # three bands, so pairs
        picture = _brightened(file, picture)
    return picture if upright is None else picture.transpose(upright)


def _brightened(file: Path | io.BytesIO, upper: Image.Image) -> Image.Image:
    """Make the picture from all 16 bits of its colours; `upper`, with a warning, if the lower 8 cannot be read."""
    if isinstance(file, io.BytesIO):
        file.seek(0)
    try:
        with Image.open(file, formats=formats()) as image:
            read_lower_halves(image)
            return wide_to_rgb(upper, image.convert("RGB"))
    except Exception:  # Pillow has no such byte order for this kind of picture
        warnings.warn("nearly black: of 16 bits a colour only the upper 8 are read; save it with 8", stacklevel=2)
        return upper


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds of errors on damaged tags; the pixels are good
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if is_deep(image):  # convert() would clip it
        image = to_grey(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if P with transparency is converted directly to RGB
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"more than {most} million pixels, which could fill the memory; make it smaller"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it; make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read; save it as PNG or JPEG"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which is in the message already
    return str(error) or type(error).__name__


def _remark(path: Path, warning: warnings.WarningMessage) -> str:
    if issubclass(warning.category, Image.DecompressionBombWarning):
        most = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"{path}: more than {most} million pixels take much memory and time; make it smaller"
    return f"a picture in {path.parent}, perhaps more: {warning.message}"


@lru_cache(maxsize=4096)
def _told(remark: str) -> None:
    log.warning("%s", remark)
