"""Plot of a confusion matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from craft_zoo.benchmarks.plots import sanitized
from craft_zoo.files import replacing

_NAMED = 60  # classes whose names are legible
_CHARACTERS = 30  # of a name
_WRITTEN = 20  # classes whose shares are written into the cells


def plot_confusion(counts: np.ndarray, classnames: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix as a PNG file, each row in % of its images.

    Args:
        counts: (C, C) numbers of images: of a class (row) that are classified as another (column).
        classnames: C names.
        path: the file.
    """
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    n_classes = len(shares)
    side = min(12.0, 4 + 0.42 * n_classes)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    if n_classes <= _NAMED:
        names = [
            sanitized(textwrap.shorten(name, _CHARACTERS, placeholder="…")) for name in classnames
        ]
        size = 9 if n_classes <= _WRITTEN else 5
        axes.set_xticks(range(n_classes), names, rotation=90, fontsize=size)
        axes.set_yticks(range(n_classes), names, fontsize=size)
    if n_classes <= _WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                ink = "white" if share > 50 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=ink, size=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
    figure.colorbar(image, ax=axes, shrink=0.7, label="% of the class")
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)
    plt.close(figure)
