"""What is sent of an image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from craft_zoo.blackbox.remote.files import file_of
from craft_zoo.data.images import BrokenImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_files_that_servers_read_are_sent_as_they_are(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.fromarray(PIXELS).save(path, kind)
    assert file_of(path) == path.read_bytes()


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_others_are_sent_as_png_with_the_same_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.fromarray(PIXELS).save(path, kind)
    for source in (path, PIXELS, Image.fromarray(PIXELS)):
        with Image.open(io.BytesIO(file_of(source)), formats=["PNG"]) as sent:
            assert np.array_equal(np.asarray(sent), PIXELS)


def test_what_is_no_image_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no image")
    with pytest.raises(BrokenImageError, match="words cannot be read"):
        file_of(tmp_path / "words")
