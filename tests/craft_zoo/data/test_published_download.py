"""Downloads with replaced download libraries, and without a network."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from craft_zoo.data import Dataset, load_dataset
from craft_zoo.data.published import Published, download, published_datasets
from craft_zoo.errors import CraftZooError

# Where torchvision's classes put images and lists, as its sources say.
TORCHVISION = {
    "Caltech101": ("caltech101", "caltech101"),
    "OxfordIIITPet": ("oxford_pets", "oxford-iiit-pet"),
    "Flowers102": ("oxford_flowers", "flowers-102"),
    "Food101": ("food101", "food-101"),
    "FGVCAircraft": ("fgvc_aircraft", "fgvc-aircraft-2013b/data"),
    "SUN397": ("sun397", "."),
    "DTD": ("dtd", "dtd/dtd"),
    "EuroSAT": ("eurosat", "eurosat"),
    "SVHN": ("svhn", "."),
}
# What the archives hold, by a part of their address or name.
ARCHIVES = {
    "imagenetv2": ("imagenetv2", ".", None),
    "imagenet-a": ("imagenet-a", ".", None),
    "imagenet-r": ("imagenet-r", ".", None),
    "ImageNet-Sketch": ("imagenet-sketch", ".", "sketch"),
    "UCF": ("ucf101", ".", None),
    "cifar-10-": ("cifar10", "cifar-10-batches-bin", None),
    "cifar-100-": ("cifar100", "cifar-100-binary", None),
    "CLEVR": ("clevr", "CLEVR_v1.0", None),
}
DOWNLOADABLE = [name for name, one in published_datasets().items() if one.by_hand is None]


class Internet:
    """Provides the tiny data sets in the layout of the download libraries."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.asked: list[str] = []

    def torchvision(self, class_name: str, folder: Path) -> None:
        self.asked.append(class_name)
        name, home = TORCHVISION[class_name]
        self._copy(published_datasets()[name], folder / home)
        (folder / home / "archive.tar.gz").write_bytes(b"what torchvision leaves behind")

    def archive(self, url: str, md5: str | None, folder: Path) -> None:
        self.asked.append(url)
        key = next(key for key in ARCHIVES if key in url)
        name, home, images = ARCHIVES[key]
        self._copy(published_datasets()[name], folder / home, images)

    def drive_archive(self, file_id: str, name: str, folder: Path) -> None:
        self.archive(name, None, folder)

    def drive(self, file_id: str, folder: Path, name: str) -> None:
        self.asked.append(name)
        owner = next(one for one in published_datasets().values() if file_id in str(one.split_from))
        shutil.copy(self.source / owner.folder / name, folder / name)

    def _copy(self, one: Published, home: Path, images: str | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        if one.images:
            shutil.copytree(self.source / one.folder / one.images, home / (images or one.images))
        for name in one.lists:
            shutil.copy(self.source / one.folder / name, home / name)


@pytest.fixture
def internet(published_root: Path, monkeypatch: pytest.MonkeyPatch) -> Internet:
    internet = Internet(published_root)
    for name, function in (
        ("from_torchvision", internet.torchvision),
        ("from_archive", internet.archive),
        ("from_drive_archive", internet.drive_archive),
        ("from_drive", internet.drive),
    ):
        monkeypatch.setattr(download, name, function)
    return internet


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> Iterator[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


def visible(folder: Path) -> set[str]:
    """Files under ``folder``, except the lock."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def parts(dataset: Dataset) -> list[tuple[list[str], list[int]]]:
    found = (dataset.train, dataset.val, dataset.test)
    return [
        ([Path(str(image)).name for image in part.images], part.labels.tolist())
        for part in found
        if part is not None
    ]


def test_each_is_downloaded_or_says_why_not() -> None:
    fetched = [name for name, one in published_datasets().items() if one.download is not None]
    assert fetched == DOWNLOADABLE


@pytest.mark.parametrize("name", DOWNLOADABLE)
def test_what_was_downloaded_is_moved_to_its_layout(
    internet: Internet, published_root: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "new" / "data"
    fetched = load_dataset(name, root=root, download=True)
    there = load_dataset(name, root=published_root)
    assert fetched.classnames == there.classnames
    if isinstance(there.test.images[0], str):
        assert parts(fetched) == parts(there)
    assert not list(root.rglob("archive.tar.gz"))
    assert not list(root.glob(".*.download"))
    asked = len(internet.asked)
    load_dataset(name, root=root, download=True)
    assert len(internet.asked) == asked, "what is there is not fetched again"


def test_only_what_is_missing_is_fetched(
    internet: Internet, published_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stanford_cars"
    shutil.copytree(published_root / "stanford_cars", folder)
    split = folder / "split_zhou_StanfordCars.json"
    text = split.read_text()
    split.unlink()
    load_dataset("stanford_cars", root=tmp_path, download=True)
    assert internet.asked == ["split_zhou_StanfordCars.json"]
    assert split.read_text() == text


def test_a_list_that_is_lost_comes_back_and_images_stay(
    internet: Internet, published_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "fgvc_aircraft"
    shutil.copytree(published_root / "fgvc_aircraft", folder)
    (folder / "variants.txt").unlink()
    (folder / "images" / "mine.jpg").write_bytes(b"")
    load_dataset("fgvc_aircraft", root=tmp_path, download=True)
    assert (folder / "images" / "mine.jpg").exists()


@pytest.mark.parametrize("name", ["imagenet", "stanford_cars", "resisc45"])
def test_what_nobody_may_or_can_download(internet: Internet, tmp_path: Path, name: str) -> None:
    published = published_datasets()[name]
    with pytest.raises(CraftZooError, match=f"{name} cannot be downloaded, as its") as caught:
        load_dataset(name, root=tmp_path / "data", download=True)
    assert published.images_from in str(caught.value)
    assert str(tmp_path / "data" / published.folder) in str(caught.value)
    assert internet.asked == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["oxford_pets", "cifar10", "svhn", "imagenet-a"])
@pytest.mark.usefixtures("no_network")
def test_without_a_network(tmp_path: Path, name: str) -> None:
    """The libraries themselves fail here."""
    with pytest.raises(
        CraftZooError, match=rf"^data set {name} cannot be downloaded from http.* \(.+\): try again"
    ) as caught:
        load_dataset(name, root=tmp_path, download=True)
    assert str(tmp_path / published_datasets()[name].folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert visible(tmp_path) == set()


def test_without_gdown(
    tmp_path: Path, published_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    shutil.copytree(published_root / "dtd", tmp_path / "dtd")
    split = tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    split.unlink()
    with pytest.raises(CraftZooError, match=rf"pip install gdown.*put it by hand at {split} "):
        load_dataset("dtd", root=tmp_path, download=True)


def test_a_download_that_breaks_off_leaves_nothing(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(class_name: str, folder: Path) -> None:
        internet.torchvision(class_name, folder)
        raise ConnectionResetError("the other side hung up\nand more")

    monkeypatch.setattr(download, "from_torchvision", half)
    with pytest.raises(CraftZooError, match="the other side hung up and more"):
        load_dataset("food101", root=tmp_path, download=True)
    assert visible(tmp_path) == set()
    assert socket.getdefaulttimeout() is None


def test_images_that_came_stay_when_the_split_file_does_not_come(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file_id: str, folder: Path, name: str) -> None:
        (folder / name).write_text("half")
        raise OSError("quota")

    with monkeypatch.context() as patch:
        patch.setattr(download, "from_drive", refuse)
        with pytest.raises(CraftZooError, match=r"split_zhou_Food101\.json"):
            load_dataset("food101", root=tmp_path, download=True)
    assert not (tmp_path / "food-101" / "split_zhou_Food101.json").exists()
    load_dataset("food101", root=tmp_path, download=True)
    assert internet.asked == ["Food101", "split_zhou_Food101.json"]


def test_another_tree_than_was_expected(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        download, "from_torchvision", lambda name, folder: (folder / "other").mkdir()
    )
    with pytest.raises(CraftZooError, match=r"food-101/images holds no 'images': put it there"):
        load_dataset("food101", root=tmp_path, download=True)
    assert visible(tmp_path) == set()


def test_what_a_killed_process_left_is_removed(internet: Internet, tmp_path: Path) -> None:
    stale = tmp_path / ".dtd.download" / "dtd" / "dtd" / "images" / "half"
    stale.mkdir(parents=True)
    load_dataset("dtd", root=tmp_path, download=True)
    assert not (tmp_path / ".dtd.download").exists()
    assert not (tmp_path / "dtd" / "images" / "half").exists()


def test_a_root_that_is_a_file(internet: Internet, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(CraftZooError, match=r"cannot be downloaded to .*data .*check the folder"):
        load_dataset("dtd", root=tmp_path / "data", download=True)
