"""Catalogue of published data sets: names, layouts, templates, sizes and sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple


class Sizes(NamedTuple):
    """Number of images in each split."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Published:
    """Description of a published data set, available without its files.

    Attributes:
        name: its name for ``--dataset``.
        title: its name in papers.
        folder: its folder under the data root.
        n_classes: number of classes.
        sizes: published number of images in each split.
        images_from: URL of the images.
        images: its image folder within ``folder``; "" if that is the folder itself.
        parts: required folders in the image folder.
        lists: other required files in ``folder``.
        split: file in ``folder`` with CoOp's split or ImageNet's class names; None if the data set
            has no such file.
        split_from: URL of ``split``, always on Google Drive.
        split_also: alternative path of ``split`` under the data root.
        split_optional: whether the data set can be read without ``split``.
        template: its hand-written prompt.
        renamed: raw class name → the words that publications use instead.
        by_hand: why the images cannot be downloaded; None if they can.
        download: how images and lists are downloaded: ``torchvision:`` and a class of
            ``torchvision.datasets``, ``drive:`` and id and name of an archive on Google Drive, or
            the URL of an archive; None if they cannot be downloaded.
        md5: checksum of the archive, if known.
        download_home: folder of the download with the content of ``folder``.
        download_images: name of the image folder in ``download_home``; None: as in ``folder``.
    """

    name: str
    title: str
    folder: str
    n_classes: int
    sizes: Sizes
    images_from: str
    images: str = ""
    parts: Sequence[str] = ()
    lists: Sequence[str] = ()
    split: str | None = None
    split_from: str | None = None
    split_also: str | None = None
    split_optional: bool = False
    template: str = "a photo of a {}."
    renamed: Mapping[str, str] = field(default_factory=dict)
    by_hand: str | None = None
    download: str | None = None
    md5: str | None = None
    download_home: str = ""
    download_images: str | None = None

    def image_folder(self, root: Path) -> Path:
        """Path of the image folder under the data root."""
        return root / self.folder / self.images

    def split_path(self, root: Path) -> Path | None:
        """Actual or expected path of ``split`` under the data root."""
        if self.split is None:
            return None
        path = root / self.folder / self.split
        also = None if self.split_also is None else root / self.split_also
        return also if also is not None and also.exists() and not path.exists() else path


def published_datasets() -> dict[str, Published]:
    """Every data set by name, in the order in which papers list them."""
    return dict(_BY_NAME)


def _described(name: str, entry: dict[str, Any]) -> Published:
    sizes = Sizes(*entry.pop("sizes"))
    return Published(**{"name": name, "folder": name, "sizes": sizes, **entry})


_TEXT = resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
_BY_NAME = {name: _described(name, entry) for name, entry in tomllib.loads(_TEXT).items()}
