"""PNG and JPEG files without metadata, for pictures whose metadata keep Pillow from reading the pixels."""

import zlib
from pathlib import Path

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")  # pixels, transparency, orientation
_START_OF_SCAN, _APP0, _APP1, _APP14, _COMMENT = 0xDA, 0xE0, 0xE1, 0xEE, 0xFE


def without_metadata(path: Path) -> bytes | None:
    """The bytes of a file with only its pixels and EXIF data, which has the orientation.

    Returns:
        None if the file is neither PNG nor JPEG.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(len(_PNG))
        if start == _PNG:
            return _stripped_png(start + file.read())
        return _stripped_jpeg(start + file.read()) if start.startswith(_JPEG) else None


def _stripped_png(data: bytes) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")  # length, name, content, checksum
        name, sound = data[place + 4 : place + 8], zlib.crc32(data[place + 4 : end - 4])
        if name in _PNG_KEPT and (name != b"eXIf" or data[end - 4 : end] == sound.to_bytes(4, "big")):
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _stripped_jpeg(data: bytes) -> bytes:
    kept, place = [_JPEG], len(_JPEG)
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != bytes([_START_OF_SCAN]):
        end = place + 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
        if _is_needed(data[place + 1 : place + 2], data[place + 4 : end]):
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _is_needed(marker: bytes, content: bytes) -> bool:
    """Whether a JPEG segment is needed. Of the application segments, only EXIF and Adobe's (the colour space) are."""
    if marker == bytes([_APP1]):
        return content.startswith(b"Exif\0\0")
    if marker == bytes([_APP14]):
        return content.startswith(b"Adobe") and len(content) >= 12
    return not (bytes([_APP0]) <= marker <= bytes([0xEF]) or marker == bytes([_COMMENT]))
