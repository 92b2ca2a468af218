"""Zero-shot accuracy of craft-mini: ``python -m craft_zoo.mini.training.evaluate FOLDER``.

FOLDER contains one folder of images per class; ``digits`` instead means scikit-learn's digits.
Class names are folder names in lower case with spaces, or the published ones for EuroSAT.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.data import ImageSource
from craft_zoo.data.digits import WORDS
from craft_zoo.data.published import published_datasets
from craft_zoo.mini.training.corpus import FIRST
from craft_zoo.openclip import OpenCLIP


def main() -> None:
    """Print the accuracy and the logit scale with the smallest cross-entropy."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.mini.training.evaluate", description=__doc__
    )
    parser.add_argument("dataset", help="an image folder, or digits")
    parser.add_argument("--prompt", default=FIRST)
    options = parser.parse_args()
    found = digits() if options.dataset == "digits" else folder(Path(options.dataset))
    names, images, labels = found[0], found[1], torch.tensor(found[2])
    cosines = zero_shot(names, images, options.prompt)
    accuracy = (cosines.argmax(dim=1) == labels).float().mean().item()
    scale = best_scale(cosines, labels)
    print(
        f"{100 * accuracy:.1f} % of {len(labels)} images, {len(names)} classes, "
        f"prompt {options.prompt!r}; smallest loss at logit scale {scale:.0f}"
    )


def folder(path: Path) -> tuple[list[str], list[ImageSource], list[int]]:
    """Return the class names, the images and the labels of a folder of folders."""
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    words = published_datasets()["eurosat"].renamed
    names = [words.get(c.name, c.name.replace("_", " ").lower()) for c in classes]
    files = [(file, i) for i, c in enumerate(classes) for file in sorted(c.iterdir())]
    return names, [file for file, _ in files], [label for _, label in files]


def digits() -> tuple[list[str], list[ImageSource], list[int]]:
    """Return scikit-learn's 1,797 handwritten digits as 8 by 8 images, white on black."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images * 255 / 16).astype("uint8")
    return list(WORDS), list(pixels), data.target.tolist()


def zero_shot(names: Sequence[str], images: Sequence[ImageSource], prompt: str) -> Tensor:
    """Return the cosines (images, classes)."""
    vlm = OpenCLIP.load(cache=False)
    texts = vlm.text_features([prompt.format(name) for name in names])
    return torch.from_numpy(vlm.features(vlm.images(images)) @ texts.T)


def best_scale(cosines: Tensor, labels: Tensor) -> float:
    """Return the logit scale, 1 to 200, with the smallest cross-entropy."""
    losses = [F.cross_entropy(scale * cosines, labels).item() for scale in range(1, 201)]
    return 1.0 + min(range(200), key=losses.__getitem__)


if __name__ == "__main__":
    main()
