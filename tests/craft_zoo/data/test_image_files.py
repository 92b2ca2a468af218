"""Recognition of image files in a folder, and sentences about the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from craft_zoo.data import open_image
from craft_zoo.data.image_files import image_suffixes, list_files, say_left_out
from craft_zoo.errors import CraftZooError

PIXELS = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", sorted(set(Image.registered_extensions()) & image_suffixes()))
def test_what_pillow_can_write_under_a_suffix_is_found_and_opened(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    try:
        Image.fromarray(PIXELS).save(path, Image.registered_extensions()[suffix])
    except (KeyError, OSError, ValueError):
        pytest.skip("Pillow does not write colours in this format")
    assert list_files(tmp_path).images == [path]
    assert open_image(path).mode == "RGB"


def test_the_formats_of_cameras_browsers_and_torchvision_are_among_them() -> None:
    assert image_suffixes() >= {
        ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
        ".jp2",
    }  # fmt: skip
    assert not image_suffixes() & {".eps", ".pdf", ".mpg", ".wmf", ".h5", ".txt"}


def test_heic_is_opened_where_the_package_is(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    Image.fromarray(PIXELS).save(tmp_path / "a.heic")
    (found,) = list_files(tmp_path).images
    assert open_image(found).size == (16, 16)


def test_files_are_found_below_and_sorted_by_their_folders(tmp_path: Path) -> None:
    names = ["a/b/1.png", "a/2.png", "a-b/3.png", "4.png", "Z/5.PNG", ".hidden/6.png", "a/._2.png",
             "@eaDir/7.png", "__MACOSX/8.png", "$RECYCLE.BIN/9.png"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_files(tmp_path)
    expected = ["4.png", "Z/5.PNG", "a/2.png", "a/b/1.png", "a-b/3.png"]
    assert found.images == [tmp_path / name for name in expected]
    assert found.folders == [tmp_path / name for name in ("Z", "a", "a-b")]
    assert found.left_out == []
    assert list_files(tmp_path, below=False).images == [tmp_path / "4.png"]


def test_links_that_go_round_or_nowhere_and_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    found = list_files(tmp_path)
    assert found.images == [tmp_path / "a" / "1.png", tmp_path / "lost.png"]
    assert [one.path.name for one in found.left_out] == ["pipe.png"]


def test_what_is_left_out_is_named_or_counted(tmp_path: Path) -> None:
    for name in ("a.dng", "b.svg", "c.XCF", "1.txt", "2.TXT", "3.json", "x", "y", "z"):
        (tmp_path / name).touch()
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "Icon\r"):
        (tmp_path / name).touch()
    sentences = say_left_out(list_files(tmp_path).left_out)
    assert sorted(sentence.replace(f"{tmp_path}/", "") for sentence in sentences) == sorted(
        [
            *(
                f"image {name} is of a format that cannot be opened here: convert it to JPEG, PNG "
                f"or TIFF"
                for name in ("c.XCF", "a.dng", "b.svg")
            ),
            "3 files without a suffix have no image file extension, the first x",
            "file 3.json has no image file extension",
            "2 files ending in .txt have no image file extension, the first 1.txt",
        ]
    )


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match=r"folder .*no\\xff cannot be read \(No such file"):
        list_files(tmp_path / "no\udcff")


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)))
def test_each_file_is_found_left_out_or_a_systems(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    made = set()
    for number, name in enumerate(names):
        try:
            (folder / f"a{name}{('.png', '.dng', '')[number % 3]}").touch()
        except (OSError, ValueError):
            continue
        made.add(f"a{name}{('.png', '.dng', '')[number % 3]}")
    found = list_files(folder)
    listed = [path.name for path in found.images] + [one.path.name for one in found.left_out]
    assert sorted(listed) == sorted(made)
    for sentence in say_left_out(found.left_out):
        assert sentence.isprintable()
        sentence.encode()
