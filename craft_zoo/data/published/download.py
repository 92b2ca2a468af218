"""Downloads missing files of a published data set (``--download``)."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import missing_files
from craft_zoo.errors import CraftZooError

_SILENCE = 60.0  # seconds, socket timeout
_KRIZ = "https://www.cs.toronto.edu/~kriz"
_HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks"


@dataclass(frozen=True)
class Origin:
    """How a data set is downloaded, and the layout of the download.

    Attributes:
        fetch: downloads to the given scratch folder.
        home: path in the scratch folder of the content of the data set's folder.
        images: name of the image folder in ``home``; None: the same as in the data set's folder.
    """

    fetch: Callable[[Path], None]
    home: str = ""
    images: str | None = None


def download(published: Published, root: Path) -> None:
    """Download the missing files of a data set, if there are any.

    Files are downloaded to a scratch folder and moved when complete. Other processes that download
    the same data set wait.

    Args:
        published: the data set.
        root: the data root, created if needed.

    Raises:
        CraftZooError: the download is not possible or fails; existing files stay unchanged.
    """
    missing = missing_files(published, root)
    if not missing:
        return
    _refuse_by_hand(published, root, missing)
    lock = root / f".{published.name}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            _fetch_missing(published, root)
    except OSError as error:
        raise CraftZooError(
            f"data set {published.name} cannot be downloaded to {root} ({error}): check the "
            f"folder and its disk"
        ) from None


def _refuse_by_hand(published: Published, root: Path, missing: list[Path]) -> None:
    others = [path for path in missing if path != published.split_path(root)]
    if others and published.by_hand is not None:
        raise CraftZooError(
            f"data set {published.name} cannot be downloaded, as {published.by_hand}: get it from "
            f"{published.images_from} and put it where {others[0]} is expected (docs/datasets.md)"
        )


def _fetch_missing(published: Published, root: Path) -> None:
    missing = missing_files(published, root)  # another process may have downloaded them
    split = published.split_path(root)
    others = [path for path in missing if path != split]
    if others:
        origin = ORIGINS[published.name]
        with _scratch(published, root) as scratch:
            with _one_sentence(published, published.images_from, others[0]):
                origin.fetch(scratch)
            home = scratch / origin.home
            # The image folder is moved last: if the process is killed before, it is still missing.
            _move({path: _place_in(home, path, published, root, origin) for path in others[::-1]})
    if split is not None and split in missing:
        with _scratch(published, root) as scratch:
            with _one_sentence(published, published.split_from, split):
                from_drive(_drive_id(published.split_from), scratch, split.name)
            _move({split: scratch / split.name})


def _place_in(home: Path, path: Path, published: Published, root: Path, origin: Origin) -> Path:
    """The path in the scratch folder of the file or folder that belongs at ``path``."""
    if path == published.image_folder(root) and origin.images is not None:
        return home / origin.images
    return home / path.relative_to(root / published.folder)


def _move(places: dict[Path, Path]) -> None:
    """Move each value to its key, all or none.

    Raises:
        CraftZooError: an expected file was not downloaded.
        OSError: a file cannot be moved.
    """
    for target, source in places.items():
        if not source.exists():
            raise CraftZooError(
                f"what was downloaded for {target} holds no {source.name!r}: put it there by hand "
                f"(docs/datasets.md)"
            )
    done: list[tuple[Path, Path]] = []
    try:
        for target, source in places.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, target)
            done.append((target, source))
    except OSError:
        for target, source in done:
            os.rename(target, source)
        raise


@contextmanager
def _scratch(published: Published, root: Path) -> Iterator[Path]:
    """A temporary folder in the data root, on the same disk so that moving is renaming."""
    folder = root / f".{published.name}.download"
    shutil.rmtree(folder, ignore_errors=True)  # remains of a killed process
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_sentence(published: Published, url: str | None, path: Path) -> Iterator[None]:
    """Convert exceptions of the download libraries to one sentence."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)  # the libraries have no timeout argument
    try:
        yield
    except CraftZooError:
        raise
    except Exception as error:
        if "gdown" in str(error) and not _has_gdown():
            raise CraftZooError(
                f"data set {published.name} is downloaded from Google Drive with gdown, which is "
                f"not installed: pip install gdown, or download {url} by hand to {path}"
            ) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CraftZooError(
            f"data set {published.name} cannot be downloaded from {url} ({reason}): try again "
            f"with a network, or put it by hand at {path} (docs/datasets.md)"
        ) from None
    finally:
        socket.setdefaulttimeout(patience)


def _has_gdown() -> bool:
    from importlib.util import find_spec

    return find_spec("gdown") is not None


def _drive_id(url: str | None) -> str:
    assert url is not None
    return url.rstrip("/").rpartition("/")[2]


def from_drive(file_id: str, folder: Path, name: str) -> None:
    """Download a file from Google Drive to ``folder / name``."""
    from torchvision.datasets.utils import download_file_from_google_drive

    download_file_from_google_drive(file_id, folder, name)


def from_torchvision(class_name: str, folder: Path) -> None:
    """Download to ``folder`` with a class of ``torchvision.datasets``."""
    from torchvision import datasets

    getattr(datasets, class_name)(os.fspath(folder), download=True)


def from_archive(url: str, md5: str | None, folder: Path) -> None:
    """Download an archive and extract it in ``folder``."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(url, folder, md5=md5, remove_finished=True)


def from_drive_archive(file_id: str, name: str, folder: Path) -> None:
    """Download an archive from Google Drive and extract it in ``folder``."""
    from torchvision.datasets.utils import extract_archive

    from_drive(file_id, folder, name)
    extract_archive(os.fspath(folder / name), os.fspath(folder), remove_finished=True)


def from_svhn(folder: Path) -> None:
    """Download SVHN's two files of cropped digits."""
    from torchvision.datasets import SVHN
    from torchvision.datasets.utils import download_url

    for split in ("train", "test"):
        url, name, md5 = SVHN.split_list[split]
        download_url(url, folder, name, md5)


def _torchvision(class_name: str, home: str) -> Origin:
    return Origin(lambda folder: from_torchvision(class_name, folder), home)


def _archive(url: str, md5: str | None = None, home: str = "", images: str | None = None) -> Origin:
    return Origin(lambda folder: from_archive(url, md5, folder), home, images)


ORIGINS = {
    "caltech101": _torchvision("Caltech101", "caltech101"),
    "oxford_pets": _torchvision("OxfordIIITPet", "oxford-iiit-pet"),
    "oxford_flowers": _torchvision("Flowers102", "flowers-102"),
    "food101": _torchvision("Food101", "food-101"),
    "fgvc_aircraft": _torchvision("FGVCAircraft", "fgvc-aircraft-2013b/data"),
    "sun397": _torchvision("SUN397", ""),
    "dtd": _torchvision("DTD", "dtd/dtd"),
    "eurosat": _torchvision("EuroSAT", "eurosat"),
    "ucf101": Origin(
        lambda folder: from_drive_archive(
            "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O", "UCF-101-midframes.zip", folder
        )
    ),
    "imagenetv2": _archive(
        "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/"
        "imagenetv2-matched-frequency.tar.gz"
    ),
    "imagenet-sketch": Origin(
        lambda folder: from_drive_archive(
            "1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA", "ImageNet-Sketch.zip", folder
        ),
        images="sketch",
    ),
    "imagenet-a": _archive(f"{_HENDRYCKS}/imagenet-a.tar"),
    "imagenet-r": _archive(f"{_HENDRYCKS}/imagenet-r.tar"),
    "cifar10": _archive(
        f"{_KRIZ}/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
    ),
    "cifar100": _archive(
        f"{_KRIZ}/cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
    ),
    "svhn": Origin(lambda folder: from_svhn(folder)),
}
