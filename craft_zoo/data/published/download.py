"""Downloads missing files of a published data set (``--download``)."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from craft_zoo.data.published.catalogue import Published
from craft_zoo.data.published.layout import missing_files
from craft_zoo.errors import CraftZooError

_TIMEOUT = 60.0  # seconds, socket timeout


def download_missing(published: Published, root: Path) -> None:
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
    others = [path for path in missing if path != published.split_path(root)]
    if others and published.by_hand is not None:
        raise CraftZooError(
            f"data set {published.name} cannot be downloaded, as {published.by_hand}: get it from "
            f"{published.images_from} and put it where {others[0]} is expected (docs/datasets.md)"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{published.name}.lock"):
            _fetch_missing(published, root)
    except OSError as error:
        raise CraftZooError(
            f"data set {published.name} cannot be downloaded to {root} ({error}): check the "
            f"folder and its disk"
        ) from None


def _fetch_missing(published: Published, root: Path) -> None:
    missing = missing_files(published, root)  # another process may have downloaded them
    split, images = published.split_path(root), published.image_folder(root)
    # The image folder is moved last, with its parts: if the process is killed before, it is still
    # missing.
    others = [path for path in missing[::-1] if path != split and path.parent not in missing]
    if others:
        folder, home = root / published.folder, Path(published.download_home)
        places = {path: home / path.relative_to(folder) for path in others}
        if images in places and published.download_images is not None:
            places[images] = home / published.download_images
        _fetch(published, root, published.images_from, places, lambda at: _images(published, at))
    if split is not None and split in missing:
        url, name = str(published.split_from), split.name
        file_id = url.rpartition("/")[2]
        _fetch(published, root, url, {split: Path(name)}, lambda at: from_drive(file_id, at, name))


def _fetch(
    published: Published,
    root: Path,
    url: str,
    places: dict[Path, Path],
    fetch: Callable[[Path], None],
) -> None:
    """Download to a scratch folder with ``fetch``, and move each of ``places`` out of it.

    ``places`` has the path in the scratch folder of each target. ``url`` is for error messages.
    """
    scratch = root / f".{published.name}.download"  # on the same disk, so that moving is renaming
    shutil.rmtree(scratch, ignore_errors=True)  # remains of a killed process
    scratch.mkdir()
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)  # the libraries have no timeout argument
    try:
        try:
            fetch(scratch)
        except Exception as error:  # the download libraries have no common exception class
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CraftZooError(
                f"data set {published.name} cannot be downloaded from {url} ({reason}): try again "
                f"with a network, or put it by hand at {[*places][-1]} (docs/datasets.md)"
            ) from None
        for target, place in places.items():
            if not (scratch / place).exists():
                raise CraftZooError(
                    f"what was downloaded for {target} holds no {place.name!r}: put it there "
                    f"by hand (docs/datasets.md)"
                )
        for target, place in places.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(scratch / place, target)
    finally:
        socket.setdefaulttimeout(timeout)
        shutil.rmtree(scratch, ignore_errors=True)


def _images(published: Published, folder: Path) -> None:
    """Download images and lists to ``folder``, see :attr:`Published.download`."""
    source = str(published.download)
    kind, _, rest = source.partition(":")
    if kind == "torchvision":
        from_torchvision(rest, folder)
    elif kind == "drive":
        file_id, _, name = rest.partition("/")
        from_drive_archive(file_id, name, folder)
    else:
        from_archive(source, published.md5, folder)


def from_drive(file_id: str, folder: Path, name: str) -> None:
    """Download a file from Google Drive to ``folder / name``."""
    from torchvision.datasets.utils import download_file_from_google_drive

    download_file_from_google_drive(file_id, folder, name)


def from_drive_archive(file_id: str, name: str, folder: Path) -> None:
    """Download an archive from Google Drive and extract it in ``folder``."""
    from torchvision.datasets.utils import extract_archive

    from_drive(file_id, folder, name)
    extract_archive(os.fspath(folder / name), os.fspath(folder), remove_finished=True)


def from_archive(url: str, md5: str | None, folder: Path) -> None:
    """Download an archive and extract it in ``folder``."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(url, folder, md5=md5, remove_finished=True)


def from_torchvision(class_name: str, folder: Path) -> None:
    """Download to ``folder`` with a class of ``torchvision.datasets``."""
    from torchvision import datasets

    # Most classes download all splits, SVHN only the one that is asked for.
    for split in [{"split": "train"}, {"split": "test"}] if class_name == "SVHN" else [{}]:
        getattr(datasets, class_name)(os.fspath(folder), download=True, **split)
