"""Checks which published data sets are under a data root, and whether they are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from craft_zoo.data.broken import find_broken
from craft_zoo.data.load import load_dataset
from craft_zoo.data.published.catalogue import Published, Sizes, published_datasets
from craft_zoo.data.task import Dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.files import expanded

_NAMED = 10  # broken images that are listed


@dataclass(frozen=True)
class Finding:
    """Result of checking one data set.

    Attributes:
        name: name of the data set.
        state: "absent" if its folder does not exist, otherwise "ready" or "broken".
        n_classes: number of classes; None if the data set cannot be read.
        sizes: images in each split; None if the data set cannot be read.
        as_published: whether number of classes and sizes equal the published ones.
        problems: one sentence for each fault.
        broken_images: number of images that cannot be opened; None if it was not tested.
    """

    name: str
    state: Literal["absent", "ready", "broken"]
    n_classes: int | None = None
    sizes: Sizes | None = None
    as_published: bool = False
    problems: tuple[str, ...] = ()
    broken_images: int | None = None


def check_datasets(
    root: str | Path,
    names: Iterable[str] | None = None,
    *,
    open_images: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[Finding]:
    """Check data sets under a data root.

    Args:
        root: the folder that contains the folders of the data sets.
        names: names of the data sets; None: all published ones.
        open_images: also open every image.
        progress: called with the numbers of opened and of all images of a data set.

    Returns:
        One finding per name, in the given order.

    Raises:
        CraftZooError: a name is unknown.
    """
    known, folder = published_datasets(), expanded(root)
    chosen = list(known if names is None else dict.fromkeys(names))
    for name in chosen:
        if name not in known:
            raise CraftZooError(
                f"unknown published data set {name!r}: choose from {', '.join(known)}"
            )
    return [_check(known[name], folder, open_images, progress) for name in chosen]


def _check(
    published: Published,
    root: Path,
    open_images: bool,
    progress: Callable[[int, int], object] | None,
) -> Finding:
    if not (root / published.folder).is_dir():
        return Finding(published.name, "absent")
    try:
        dataset = load_dataset(published.name, root=root)
    except CraftZooError as error:
        return Finding(published.name, "broken", problems=(str(error),))
    sizes = Sizes(*(len(part) if part else 0 for part in dataset.parts))
    n_classes = len(dataset.classnames)
    as_published = (n_classes, sizes) == (published.n_classes, published.sizes)
    finding = Finding(published.name, "ready", n_classes, sizes, as_published)
    return _open_images(finding, dataset, progress) if open_images else finding


def _open_images(
    finding: Finding, dataset: Dataset, progress: Callable[[int, int], object] | None
) -> Finding:
    images = [image for part in dataset.parts if part for image in part.images]

    def advance(done: int) -> None:
        if progress is not None:
            progress(done, len(images))

    faults = list(find_broken(images, advance).values())
    problems = faults[:_NAMED]
    if len(faults) > _NAMED:
        problems.append(f"and {len(faults) - _NAMED:,} images more")
    return replace(
        finding,
        state="broken" if faults else "ready",
        problems=tuple(problems),
        broken_images=len(faults),
    )
