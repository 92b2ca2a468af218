"""Lists the files of a folder: images that Pillow can open, and skipped files with reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from craft_zoo.errors import CraftZooError
from craft_zoo.printable import printable

try:
    from pillow_heif import register_heif_opener
except ImportError:  # an optional dependency; without it, such images are skipped and reported
    pass
else:
    register_heif_opener()

# Pillow's plug-ins that need another program, or whose formats contain no pixels.
_NO_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

_CONVERT = "convert it to JPEG, PNG or TIFF"
_UNOPENED = {  # suffixes of image formats that Pillow may not open, with remedies
    **dict.fromkeys(
        (".heic", ".heics", ".heif", ".heifs", ".hif"), "pip install 'craft-zoo[heif]'"
    ),
    **dict.fromkeys((".avif", ".avifs"), "pip install --upgrade pillow"),
    **dict.fromkeys(
        (
            *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc"),
            *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
            *(".srf", ".srw", ".x3f"),  # cameras' raw files
            *(".ai", ".eps", ".emf", ".ps", ".svg", ".svgz", ".wmf"),  # drawings
            *(".dcm", ".djvu", ".exr", ".hdp", ".hdr", ".jxl", ".jxr", ".kra", ".psb", ".wdp"),
            ".xcf",
        ),
        _CONVERT,
    ),
}

# Names of files and folders that systems and programs create, in lower case; not reported.
_SYSTEM_NAMES = frozenset(
    {
        *("desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r", "thumbs.db"),
        *("#recycle", "#snapshot", "$recycle.bin", "@eadir", "@tmp", "__macosx", "__pycache__"),
        *("lost+found", "system volume information"),
    }
)


@dataclass(frozen=True)
class LeftOut:
    """A skipped file.

    Attributes:
        path: its path.
        mend: how to make an image of this format usable; None: it has no suffix of an image.
    """

    path: Path
    mend: str | None = None


@dataclass(frozen=True)
class FolderFiles:
    """Content of a folder, without hidden files and files of systems.

    Attributes:
        images: images that can be opened, according to their suffixes; sorted.
        left_out: all other files, sorted.
        folders: the direct subfolders, sorted.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that Pillow can open, in lower case and with the dot."""
    suffixes = Image.registered_extensions()
    return frozenset(
        suffix for suffix, name in suffixes.items() if name in Image.OPEN and name not in _NO_PIXELS
    )


def list_files(folder: Path, *, below: bool = True) -> FolderFiles:
    """List the files of ``folder`` and its subfolders.

    Images are recognized by their suffixes, in upper or lower case. Links to folders are followed;
    a folder that is reached twice is read once. A link to a folder that contains ``folder`` is an
    error, as it would bring in all that lies beside it, such as the images of other classes.

    Args:
        folder: the folder.
        below: whether subfolders are searched recursively.

    Raises:
        CraftZooError: a folder cannot be read, or is a link to one that contains ``folder``.
    """
    found = FolderFiles()
    waiting, seen = [folder], set[tuple[int, int]]()
    above = {_identity(each) for each in _folders_above(folder) if each.exists()}
    while waiting:
        place = waiting.pop()
        try:
            identity = _identity(place)
            if identity in above:
                raise CraftZooError(
                    f"folder {printable(place)} is a link to a folder that contains it: "
                    f"remove the link"
                )
            if identity in seen:
                continue
            seen.add(identity)
            folders = _list_one(place, found)
        except OSError as error:
            raise CraftZooError(
                f"folder {printable(place)} cannot be read ({error.strerror}): "
                f"check the path and its permissions"
            ) from None
        if place is folder:
            found.folders.extend(sorted(folders))
        if below:
            waiting.extend(sorted(folders, reverse=True))
    found.images.sort()
    found.left_out.sort(key=lambda one: one.path)
    return found


def _folders_above(folder: Path) -> set[Path]:
    """The folders that contain a folder; those that contain a link to it too, if it is one."""
    above = set(folder.resolve().parents)
    if folder.name not in ("", ".."):
        parent = folder.parent.resolve()
        above |= {parent, *parent.parents}
    return above


def _identity(folder: Path) -> tuple[int, int]:
    """What is the same for a folder and all links to it."""
    about = os.stat(folder)
    return about.st_dev, about.st_ino


def list_images(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The images at paths of files and folders, in that order, and sentences on skipped files.

    Raises:
        CraftZooError: a folder holds no images, or cannot be read.
    """
    images: list[Path] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if not path.is_dir():
            images.append(path)
            continue
        found = list_files(path)
        if not found.images:
            why = "".join(f" ({sentence})" for sentence in say_left_out(found.left_out)[:1])
            raise CraftZooError(f"folder {path} holds no images: name another{why}")
        images += found.images
        left_out += found.left_out
    return images, say_left_out(left_out)


def _list_one(folder: Path, found: FolderFiles) -> list[Path]:
    """Add the files directly in ``folder`` to ``found``; returns its subfolders."""
    folders, suffixes = [], image_suffixes()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_NAMES:
                continue
            path = folder / entry.name
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.is_dir():
                folders.append(path)
            # A broken link counts as an image, so that it is reported as missing.
            elif suffix in suffixes and (entry.is_file() or entry.is_symlink()):
                found.images.append(path)
            else:
                found.left_out.append(LeftOut(path, _UNOPENED.get(suffix)))
    return folders


def say_left_out(left_out: Iterable[LeftOut]) -> list[str]:
    """A sentence for each image that cannot be opened, and for each suffix of other files."""
    images, others = [], dict[str, list[Path]]()
    for one in left_out:
        if one.mend is None:
            others.setdefault(one.path.suffix.lower(), []).append(one.path)
        else:
            images.append(
                f"image {printable(one.path)} is of a format that cannot be opened here: {one.mend}"
            )
    for suffix, paths in sorted(others.items()):
        if len(paths) == 1:
            images.append(f"file {printable(paths[0])} has no image file extension")
        else:
            kind = f"ending in {printable(suffix)}" if suffix else "without a suffix"
            images.append(
                f"{len(paths):,} files {kind} have no image file extension, the first "
                f"{printable(paths[0])}"
            )
    return images
