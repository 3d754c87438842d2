"""Pictures to tensors, whatever their format."""

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from many_pictures import chunk, wide_png
from PIL import Image
from torchvision.transforms.v2 import functional as F

from edgekd.data import depth, images
from edgekd.data.depth import to_grey
from edgekd.data.images import allocate, decode_files, fit
from edgekd.data.pictures import UnreadableError, open_picture, pictures_in
from edgekd.errors import ConfigError


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "tif", "ppm", "avif", "gif", "jfif", "tga", "jp2"])
def test_formats_decode_to_the_same_colour(tmp_path: Path, extension: str) -> None:
    Image.new("RGB", (24, 16), (200, 100, 50)).save(tmp_path / f"x.{extension}")
    pixels = fit(open_picture(tmp_path / f"x.{extension}", 8), 8)
    assert (pixels.shape, pixels.dtype) == ((3, 8, 8), torch.uint8)
    assert (pixels.int() - torch.tensor([200, 100, 50]).view(3, 1, 1)).abs().max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_modes_decode_to_rgb(tmp_path: Path, mode: str) -> None:
    name = "x.tif" if mode == "CMYK" else "x.png"
    Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode).save(tmp_path / name)
    assert (fit(open_picture(tmp_path / name, 16), 16) == 255).all()


def test_palette_with_transparency_bytes_decodes_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "x.png", transparency=b"\x00\xff")
    assert fit(open_picture(tmp_path / "x.png", 8), 8)[:, 0, 0].tolist() == [9, 8, 7]


def sample_format(value: int) -> bytes:
    """A tag of TIFF; 1: unsigned integers, 2: signed ones."""
    return struct.pack("<HHIH", 339, 3, 1, value)


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("values", "suffix", "tags"),
    [
        ((RAMP * 65535).astype(np.uint16), "png", {}),
        ((RAMP * 4095).astype(np.uint16), "png", {}),
        ((RAMP * 1023).astype(np.uint16), "png", {}),
        ((RAMP * 255).astype(np.uint16), "png", {}),
        ((RAMP * 16383).astype(np.uint16), "tif", {}),
        ((RAMP * 255).astype(np.int32), "tif", {}),
        ((RAMP * 4095).astype(np.int32), "tif", {}),
        ((RAMP * (2**31 - 1)).astype(np.int32), "tif", {}),
        ((RAMP * (2**32 - 1)).astype(np.uint32), "tif", {}),
        (((RAMP - 0.5) * 3000).astype(np.int32), "tif", {}),
        (RAMP.astype(np.float32), "tif", {}),
        ((RAMP * 255).astype(np.float32), "tif", {}),
        ((RAMP * 65535).astype(np.float32), "tif", {}),
        ((RAMP * 1e-3).astype(np.float32), "tif", {}),
        ((RAMP * 1e9).astype(np.float32), "tif", {}),
        ((RAMP * 40 - 20).astype(np.float32), "tif", {}),
        ((RAMP * 5000).astype(np.uint16), "tif", {281: 5000}),
        ((RAMP * 5).astype(np.float32), "tif", {341: 5.0}),
    ],
)
def test_deep_values_become_all_of_black_to_white(tmp_path: Path, values, suffix: str, tags: dict) -> None:
    file = tmp_path / f"x.{suffix}"
    unsigned = values.dtype == np.uint32  # Pillow writes such values as signed
    Image.fromarray(values.view(np.int32) if unsigned else values).save(file, **({"tiffinfo": tags} if tags else {}))
    if unsigned:
        file.write_bytes(file.read_bytes().replace(sample_format(2), sample_format(1)))
    grey = fit(open_picture(file, 8), 8)[0]
    assert (grey.int() - torch.from_numpy(RAMP * 255).int()).abs().max() <= 1


def test_white_is_what_the_tiff_says_where_the_picture_is_dark(tmp_path: Path) -> None:
    for tags, grey in (({281: 4095}, 6), ({281: 50}, 100), ({}, 100)):  # 50 cannot be the largest value
        Image.fromarray(np.full((8, 8), 100, dtype=np.uint16)).save(tmp_path / "x.tif", tiffinfo=tags)
        assert (fit(open_picture(tmp_path / "x.tif", 8), 8) == grey).all()


def test_values_that_are_no_numbers_are_black_and_nothing_else_is_unreadable(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert fit(open_picture(tmp_path / "x.tif", 8), 8)[0, 0, 0] == 0
    Image.fromarray(np.full_like(values, np.nan)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableError, match="no value of the picture is a number"):
        open_picture(tmp_path / "x.tif", 8)


def test_sixteen_bit_grey_loses_its_lower_half(tmp_path: Path) -> None:
    Image.fromarray(np.array([[25700, 65535], [255, 16384]], dtype=np.uint16)).save(tmp_path / "x.png")
    assert fit(open_picture(tmp_path / "x.png", 2), 2)[0].tolist() == [[100, 255], [0, 64]]


def wide_tiff(values: np.ndarray, order: str, planes: bool = False, maximum: int = 0) -> bytes:
    """A TIFF of 16 bits a colour; `order` "<" or ">"; with a plane for each colour, or pixel by pixel."""
    height, width, colours = values.shape
    data = (np.moveaxis(values, 2, 0) if planes else values).astype(order + "u2").tobytes()
    count = colours if planes else 1
    plane = len(data) // count
    bits = 8 + 2 + 12 * 12 + 4
    offsets = bits + 2 * colours
    lengths = offsets + 4 * count
    begin = lengths + 4 * count
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, colours, bits), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, count, offsets if planes else begin), (277, 3, 1, colours), (278, 3, 1, height)]
    tags += [(279, 4, count, lengths if planes else plane), (281, 3, 1, maximum), (284, 3, 1, 1 + planes)]
    tags += [(338, 3, 1, 2)] if colours == 4 else [(296, 3, 1, 1)]
    packed = [
        struct.pack(order + "HHI", *t[:3])
        + struct.pack(order + ("HH" if t[1:3] == (3, 1) else "I"), *((t[3], 0) if t[1:3] == (3, 1) else (t[3],)))
        for t in tags
    ]
    parts = [(b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags)), *packed, bytes(4)]
    parts.append(struct.pack(f"{order}{colours}H", *[16] * colours))
    parts.append(struct.pack(f"{order}{count}I", *(begin + plane * i for i in range(count))))
    parts.append(struct.pack(f"{order}{count}I", *[plane] * count))
    return b"".join([*parts, data])


COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], -1)
CLEAR = np.full((8, 8, 1), 65535)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colours_of_sixteen_bits_become_all_of_black_to_white(tmp_path: Path, bits: int, caplog) -> None:
    values = (COLOURS * (2**bits - 1)).astype(np.uint16)
    clear = np.concatenate([values, CLEAR], -1)
    files = {"rgb.png": wide_png(values, 2), "rgba.png": wide_png(clear, 6), "rgba.tif": wide_tiff(clear, "<")}
    files |= {"little.tif": wide_tiff(values, "<"), "big.tif": wide_tiff(values, ">")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        got = np.asarray(open_picture(tmp_path / name, 8)).astype(int)
        assert np.abs(got - COLOURS * 255).max() <= 1, name
    assert caplog.messages == []


def test_white_of_colours_is_what_the_tiff_says(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(wide_tiff(np.full((8, 8, 3), 100), "<", maximum=4095))
    assert open_picture(tmp_path / "x.tif", 8).getpixel((0, 0)) == (6, 6, 6)


def test_colours_in_planes_of_sixteen_bits_are_refused_since_they_would_be_noise(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(wide_tiff((COLOURS * 65535).astype(np.uint16), "<", planes=True))
    with pytest.raises(UnreadableError, match=r"x\.tif: its colours of 16 bits lie in planes, which Pillow misreads"):
        open_picture(tmp_path / "x.tif", 8)


def test_grey_of_sixteen_bits_with_alpha_that_is_nearly_black_is_warned_of_once_a_folder(
    tmp_path: Path, caplog
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(wide_png(np.full((8, 8, 2), [0x0FFF, 0xFFFF]), 4))
        assert open_picture(tmp_path / name, 8).getpixel((0, 0)) == (15, 15, 15)
    assert caplog.messages == [
        f"a picture in {tmp_path}, perhaps more: nearly black: of 16 bits a colour only the upper 8 are read; "
        "save it with 8"
    ]


def test_exif_orientation_turns_the_picture_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "x.png", exif=exif)
    pixels = fit(open_picture(tmp_path / "x.png", 8), 8)
    assert pixels[0, 0, 0] == 0
    assert pixels[0, 7, 0] == 255


def test_shorter_side_is_resized_and_the_centre_kept() -> None:
    image = Image.new("RGB", (40, 20))
    image.paste((255, 255, 255), (10, 0, 30, 20))
    pixels = fit(image, 10)
    assert pixels.shape == (3, 10, 10)
    assert (pixels[:, :, 1:9] == 255).all()


def test_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(fit(Image.fromarray(pixels), 32).permute(1, 2, 0).numpy(), pixels)


def smooth(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (width, height)
    )


def test_jpegs_below_four_times_the_size_decode_exactly_and_big_ones_nearly(tmp_path: Path) -> None:
    for width, height, tolerance in ((120, 90, 0.0), (1200, 900, 2.0)):  # of 255
        smooth(width, height).save(tmp_path / "x.jpg", quality=90)
        with Image.open(tmp_path / "x.jpg") as plain:
            expected = fit(plain, 32)
        difference = (fit(open_picture(tmp_path / "x.jpg", 32), 32).float() - expected.float()).abs().mean()
        assert difference <= tolerance


def test_of_a_tiff_with_several_pages_the_first_is_read_and_that_is_told_once_a_folder(tmp_path: Path, caplog) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for name in ("a.tif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "one.tif")
    for name in ("one.tif", "a.tif", "b.tif"):
        assert open_picture(tmp_path / name, 8).getpixel((0, 0)) == (255, 0, 0)
    told = f"a picture in {tmp_path}, perhaps more: of a TIFF with several pages only the first is read"
    assert caplog.messages == [told]


def test_unreadable_pictures_are_named_skipped_and_counted(tmp_path: Path, caplog) -> None:
    smooth(64, 48).save(tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:300])
    (tmp_path / "text.png").write_text("hello")
    files = pictures_in(tmp_path)
    pixels, read = decode_files(files, 16, "here")
    assert read == [1]
    assert torch.equal(pixels, fit(open_picture(tmp_path / "good.jpg", 16), 16)[None])
    assert "cut.jpg" in caplog.text
    assert "text.png" in caplog.text
    assert "2 of 3 pictures of here could not be read" in caplog.text


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ConfigError, match="none of the 1 pictures of here can be read"):
        decode_files([tmp_path / "text.png"], 16, "here")


def test_only_pictures_count_and_they_are_sorted(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", ".hidden.jpg", "page.eps"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.png", "b.JPG"]


def test_no_format_is_read_that_needs_another_program(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(UnreadableError, match=r"x\.jpg: not a picture that Pillow can read"):
        open_picture(tmp_path / "x.jpg", 8)


# Shapes


@pytest.mark.parametrize(("width", "height"), [(900, 100), (100, 900), (170, 10), (3, 501)])
def test_thin_pictures_give_the_centre_that_resizing_the_whole_would_give(width: int, height: int) -> None:
    image = smooth(width, height)
    whole = F.pil_to_tensor(F.center_crop(F.resize(image, [32]), [32]))
    assert (fit(image, 32).int() - whole.int()).abs().float().mean() < 2  # of 255; the crop may be half a pixel off


def test_picture_of_60000_by_1_pixels_is_never_resized_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda *a: sizes.append(a[1]) or resize(*a))
    for width, height in ((60_000, 1), (1, 60_000)):
        Image.new("RGB", (width, height), (9, 8, 7)).save(tmp_path / "x.png")
        assert fit(open_picture(tmp_path / "x.png", 224), 224)[:, 0, 0].tolist() == [9, 8, 7]
    assert sizes == [(224, 224)] * 2


def test_too_many_pixels_are_a_line_that_says_what_to_do(tmp_path: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)
    for name, width in (("far.png", 7000), ("near.png", 4000), ("small.png", 2000)):
        Image.new("L", (width, 1000)).save(tmp_path / name)
    files = pictures_in(tmp_path)
    _, read = decode_files(files, 8, "here")
    assert read == [1, 2]
    assert caplog.messages == [
        f"cannot read {tmp_path / 'far.png'}: more than 6 million pixels, which could fill the memory; "
        "make it smaller: skipped",
        f"{tmp_path / 'near.png'}: more than 3 million pixels take much memory and time; make it smaller",
        "1 of 3 pictures of here could not be read",
    ]


def test_memory_that_runs_out_costs_one_picture(tmp_path: Path, monkeypatch) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "x.png")

    def load(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "transpose", load)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(UnreadableError, match=r"x\.png: not enough memory to decode it; make it smaller"):
        open_picture(tmp_path / "x.png", 8)


# Metadata


def png(bits: int, pixel: bytes, *chunks: bytes) -> bytes:
    """A PNG of 8 x 8 pixels of one colour, with more chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + pixel * 8) * 8))
    return b"\x89PNG\r\n\x1a\n" + b"".join([header, *chunks, body, chunk(b"IEND", b"")])


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF that turns the picture upside down, and more tags: number, type, count, four bytes."""
    packed = [struct.pack("<HHI4s", *tag) for tag in [(0x112, 3, 1, b"\3"), *tags]]
    return b"II*\0" + struct.pack("<IH", 8, len(packed)) + b"".join(packed) + b"\0" * 4


ODD_EXIF = [
    exif((0x100, 2, 4, b"abcd")),
    exif((0x11A, 2, 4, b"abcd")),
    exif((0x132, 11, 1, b"\0\0\x80\x3f")),
    exif((0xA005, 2, 4, b"abcd")),
    exif((0x9000, 3, 2**31 - 1, b"")),
    exif((0x8769, 4, 1, b"\xff" * 4)),
]
BOMB = zlib.compress(bytes(2**21))


@pytest.mark.parametrize("tags", ODD_EXIF)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_odd_exif_tag_costs_neither_the_picture_nor_its_orientation(tmp_path: Path, tags: bytes, suffix: str) -> None:
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))  # the upper half is white
    upside_down = {"tiffinfo": {0x112: 3}} if suffix == "tif" else {"exif": b"Exif\0\0" + tags}
    image.save(tmp_path / f"x.{suffix}", **upside_down)
    pixels = fit(open_picture(tmp_path / f"x.{suffix}", 16), 16)
    assert pixels[0, 0, 0] < 9
    assert pixels[0, 15, 0] > 246


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"eXIf", exif(), damage=1),
        chunk(b"tEXt", b"key\0value", damage=1),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 5\nzz"),
        chunk(b"zTXt", b"key\0\0" + BOMB),
        chunk(b"zTXt", b"key\0\5"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"profile\0\0" + BOMB),
        chunk(b"iCCP", b"junk"),
        *(chunk(name, b"") for name in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL")),
        chunk(b"fcTL", bytes(26)),
    ],
)
def test_odd_chunk_does_not_cost_the_picture(tmp_path: Path, odd: bytes) -> None:
    (tmp_path / "x.png").write_bytes(png(8, b"\1\2\3", odd))
    assert open_picture(tmp_path / "x.png", 8).getpixel((4, 4)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE0, b"JFIF"),
        (0xE1, b"Exif\0\0I"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0"),
        (0xED, b"Photoshop 3.0\x008BIM\4"),
        (0xEE, b"Adobe"),
        (0xFE, b"\xff"),
    ],
)
def test_odd_segment_does_not_cost_the_picture(tmp_path: Path, marker: int, content: bytes) -> None:
    smooth(32, 32).save(tmp_path / "x.jpg")
    expected, data = fit(open_picture(tmp_path / "x.jpg", 32), 32), (tmp_path / "x.jpg").read_bytes()
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    (tmp_path / "x.jpg").write_bytes(data[:2] + segment + data[2:])
    assert torch.equal(fit(open_picture(tmp_path / "x.jpg", 32), 32), expected)


# Many images


def test_images_beyond_the_limit_live_in_an_unlinked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IN_MEMORY", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    mapped = allocate(10, 8)
    mapped.fill_(7)
    assert list(tmp_path.iterdir()) == []
    assert mapped[torch.tensor([9, 0])].sum() == 2 * 3 * 64 * 7


def test_no_room_for_the_mapped_file_is_an_error_that_says_how_much(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"need \d+\.\d GiB in .*set TMPDIR"):
        allocate(10**9, 224)


@pytest.mark.parametrize("mode", ["F", "I", "I;16"])
def test_picture_of_many_pixels_takes_little_memory_beside_its_own(mode: str) -> None:
    picture = Image.new(mode, (3000, 3000), 3)
    tracemalloc.start()
    try:
        grey = to_grey(picture)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 3000 * 3000  # bytes; at once its values as float64 took 24 each
    assert grey.size == picture.size


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(
    "values",
    [
        np.array([[1, 2], [np.nan, 700], [np.inf, -3], [0, 5], [4, 4]], np.float32),
        np.array([[1, 2], [3, 4000], [0, 0], [7, 7], [9, 1023]], np.uint16),
        np.array([[-5, 2], [3, 4000], [0, 0], [7, 7], [9, 70000]], np.int32),
    ],
)
def test_strips_do_not_show(values: Any, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.asarray(to_grey(Image.fromarray(values)))
    monkeypatch.setattr(depth, "_STRIP", rows * 2)
    assert (np.asarray(to_grey(Image.fromarray(values))) == whole).all()
    with pytest.raises(ValueError, match="no value of the picture is a number"):
        to_grey(Image.fromarray(np.full((5, 2), np.nan, np.float32)))
