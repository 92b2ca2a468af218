"""Visual prompts: patterns computed from an image and added to its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.data.images import ImageSource, open_image

_SEEN = 16  # side length of the encoder's input in pixels
_DRAWN = 8  # side length of the decoder's output in pixels
_COMPONENTS = 32
_STRENGTH = 0.5  # maximum change of a pixel; black is 0, white is 1


def square_pixels(sources: Sequence[ImageSource], size: int) -> Tensor:
    """(N, 3, size, size) uint8, the center squares of images, resized.

    Raises:
        CraftZooError: an image is missing or corrupt.
    """
    pixels = np.empty((len(sources), size, size, 3), dtype=np.uint8)
    for row, source in zip(pixels, sources, strict=True):
        image = open_image(source)
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        row[:] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PrincipalComponents:
    """Coordinates of images by a principal component analysis (PCA) of training images.

    Attributes:
        mean: (p,) mean of the training images' downsampled pixels.
        components: (p, k), scaled so that the training images' coordinates have variance 1.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def of(cls, pixels: Tensor) -> PrincipalComponents:
        """At most 32 components of training images, (N, 3, S, S) uint8 pixels."""
        seen = _seen(pixels)
        mean = seen.mean(dim=0)
        _, sizes, directions = torch.linalg.svd(seen - mean, full_matrices=False)
        kept = int((sizes[:_COMPONENTS] > 1e-4 * sizes[:1].clamp(min=1e-6)).sum())
        scale = len(pixels) ** 0.5 / sizes[:kept]
        return cls(mean, directions[:kept].T * scale)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 pixels → (N, k) coordinates."""
        return (_seen(pixels) - self.mean) @ self.components


@dataclass(frozen=True)
class Coordinator:
    """Computes a visual prompt, a coarse colour pattern, from an image's principal components.

    It is simpler than BlackVIP's (Oh et al., CVPR 2023), for which see
    :mod:`craft_zoo.methods.blackvip`: the client needs no network, and the decoder, whose
    parameters are optimised, is a single layer.

    Attributes:
        encoder: the principal components.
    """

    encoder: PrincipalComponents

    @classmethod
    def of(cls, pixels: Tensor) -> Coordinator:
        """Fit the encoder to training images, (N, 3, S, S) uint8 pixels."""
        return cls(PrincipalComponents.of(pixels))

    @property
    def n_parameters(self) -> int:
        """Number of the decoder's parameters."""
        return (self.encoder.components.shape[1] + 1) * 3 * _DRAWN**2

    def __call__(self, pixels: Tensor, parameters: np.ndarray) -> np.ndarray:
        """The prompted images.

        Args:
            pixels: (N, 3, S, S) uint8.
            parameters: (n_parameters,) of the decoder; zeros leave the images unchanged.

        Returns:
            (N, S, S, 3) uint8.
        """
        inputs = torch.cat([self.encoder(pixels), torch.ones(len(pixels), 1)], dim=1)
        decoder = torch.from_numpy(np.asarray(parameters, dtype=np.float32))
        drawn = inputs @ decoder.reshape(inputs.shape[1], -1) / inputs.shape[1] ** 0.5
        coarse = _STRENGTH * torch.tanh(drawn).reshape(-1, 3, _DRAWN, _DRAWN)
        prompt = F.interpolate(coarse, size=pixels.shape[-2:], mode="bilinear")
        moved = (pixels + 255 * prompt).round().clamp(0, 255).to(torch.uint8)
        return moved.permute(0, 2, 3, 1).contiguous().numpy()


def _seen(pixels: Tensor) -> Tensor:
    """(N, p) downsampled pixels in [0, 1], the encoder's input."""
    return F.interpolate(pixels.float() / 255, size=(_SEEN, _SEEN), mode="area").flatten(1)
