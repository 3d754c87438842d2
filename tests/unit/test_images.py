"""Pictures to tensors, whatever their format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgekd.data import images
from edgekd.data.images import allocate, decode_pictures, fit, open_picture, pictures_in
from edgekd.errors import ConfigError


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "tif", "ppm"])
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


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, dtype=np.uint16)).save(tmp_path / "x.png")
    assert (fit(open_picture(tmp_path / "x.png", 8), 8) == 100).all()


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


def test_unreadable_pictures_are_named_skipped_and_counted(tmp_path: Path, caplog) -> None:
    smooth(64, 48).save(tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:300])
    (tmp_path / "text.png").write_text("hello")
    files = pictures_in(tmp_path)
    pixels, read = decode_pictures(lambda i: open_picture(files[i], 16), range(3), 16, "here")
    assert read == [1]
    assert torch.equal(pixels, fit(open_picture(tmp_path / "good.jpg", 16), 16)[None])
    assert "cut.jpg" in caplog.text
    assert "text.png" in caplog.text
    assert "2 of 3 pictures of here could not be read" in caplog.text


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ConfigError, match="none of the 1 pictures of here can be read"):
        decode_pictures(lambda i: open_picture(tmp_path / "text.png", 16), [0], 16, "here")


def test_only_pictures_count_and_they_are_sorted(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.png", "b.JPG"]


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
