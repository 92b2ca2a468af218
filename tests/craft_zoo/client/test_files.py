"""Image files that clients send."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from craft_zoo.client.files import file_of, upright_file_of
from craft_zoo.data.images import BrokenImageError, open_image
from craft_zoo.server.uploads import UploadedImage

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_files_that_servers_read_are_sent_as_they_are(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.fromarray(PIXELS).save(path, kind)
    assert file_of(path) == path.read_bytes()
    assert file_of(UploadedImage(path.read_bytes(), "of the test", 1000)) == path.read_bytes()


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_others_are_sent_as_png_with_the_same_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.fromarray(PIXELS).save(path, kind)
    for source in (path, PIXELS, Image.fromarray(PIXELS)):
        with Image.open(io.BytesIO(file_of(source)), formats=["PNG"]) as sent:
            assert np.array_equal(np.asarray(sent), PIXELS)


def test_what_programs_show_differently_is_sent_as_we_show_it(tmp_path: Path) -> None:
    grey, colours = Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS)
    see_through = colours.copy()
    see_through.putalpha(grey)
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    path = tmp_path / "image.png"
    for image in (see_through, deep, colours.quantize(5)):
        image.save(path, **({"transparency": 0} if image.mode == "P" else {}))
        with Image.open(io.BytesIO(file_of(path)), formats=["PNG"]) as sent:
            assert sent.mode == "RGB"
            assert "transparency" not in sent.info
            assert np.array_equal(np.asarray(sent), open_image(path))


def turned(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    """A photograph that viewers turn by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_a_photograph_is_sent_as_it_is_with_its_orientation(tmp_path: Path) -> None:
    path = turned(tmp_path / "image.jpg")
    assert file_of(path) == path.read_bytes()
    with Image.open(path) as image, Image.open(io.BytesIO(file_of(image))) as sent:
        assert sent.size == (PIXELS.shape[0], PIXELS.shape[1])  # what is no file is upright
        assert not sent.getexif()


@pytest.mark.parametrize(("kind", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "PNG")])
def test_services_that_may_ignore_an_orientation_get_upright_images(
    kind: str, format: str, tmp_path: Path
) -> None:
    path = turned(tmp_path / f"image.{kind}")
    with Image.open(io.BytesIO(upright_file_of(path)), formats=[format]) as sent:
        assert not sent.getexif()
        grey = [np.asarray(image.convert("L")).ravel() for image in (sent, open_image(path))]
    assert np.corrcoef(*grey)[0, 1] > 0.99
    Image.fromarray(PIXELS).save(path)
    assert upright_file_of(path) == path.read_bytes()


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_large_images_are_reduced_and_no_others(kind: str, tmp_path: Path) -> None:
    pixels = np.linspace(0, 255, 60 * 40 * 3).reshape(60, 40, 3).astype(np.uint8)
    path = turned(tmp_path / f"image.{kind}", pixels)
    with Image.open(io.BytesIO(upright_file_of(path, 30))) as sent:
        assert sent.size == (30, 20)
        whole = np.asarray(open_image(path).resize(sent.size), float)
        assert np.abs(np.asarray(sent, float) - whole).mean() < 5
    assert upright_file_of(path, 60) == upright_file_of(path)
    Image.fromarray(pixels).save(path)
    assert upright_file_of(path, 60) == path.read_bytes()


def test_what_is_no_image_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no image")
    with pytest.raises(BrokenImageError, match="words cannot be read"):
        file_of(tmp_path / "words")
