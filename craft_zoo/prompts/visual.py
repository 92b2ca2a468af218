"""Visual prompts: what is added to an image's pixels, made from the image itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from craft_zoo.data.images import ImageSource, open_image

_SEEN = 16  # pixels a side that the encoder sees
_DRAWN = 8  # pixels a side that the decoder draws
_COMPONENTS = 32
_STRENGTH = 0.5  # the most that a pixel is moved by, where black to white is 1


def square_pixels(sources: Sequence[ImageSource], size: int) -> Tensor:
    """(N, 3, size, size) uint8: the middle squares of images, resized.

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
class Coordinator:
    """Draws a prompt for each image: principal components in, a coarse pattern of colours out.

    After BlackVIP-SE (Oh et al., "BlackVIP: Black-Box Visual Prompting for Robust Transfer
    Learning", CVPR 2023): the encoder are the principal components of the training images, so that
    the client needs no network; the decoder, a single layer here, is what is searched.

    Attributes:
        mean: (p,) of the training images' pixels as the encoder sees them.
        components: (p, k), scaled so that the training images' coordinates have variance 1.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def of(cls, pixels: Tensor) -> Coordinator:
        """From the training images' (N, 3, S, S) uint8 pixels."""
        seen = _seen(pixels)
        mean = seen.mean(dim=0)
        _, sizes, directions = torch.linalg.svd(seen - mean, full_matrices=False)
        kept = int((sizes[:_COMPONENTS] > 1e-4 * sizes[:1].clamp(min=1e-6)).sum())
        scale = len(pixels) ** 0.5 / sizes[:kept]
        return cls(mean, directions[:kept].T * scale)

    @property
    def n_parameters(self) -> int:
        """Length of the decoder's parameters."""
        return (self.components.shape[1] + 1) * 3 * _DRAWN**2

    def __call__(self, pixels: Tensor, parameters: np.ndarray) -> np.ndarray:
        """The prompted images.

        Args:
            pixels: (N, 3, S, S) uint8.
            parameters: (n_parameters,) of the decoder; zeros leave the images as they are.

        Returns:
            (N, S, S, 3) uint8.
        """
        coordinates = (_seen(pixels) - self.mean) @ self.components
        inputs = torch.cat([coordinates, torch.ones(len(pixels), 1)], dim=1)
        decoder = torch.from_numpy(np.asarray(parameters, dtype=np.float32))
        drawn = inputs @ decoder.reshape(inputs.shape[1], -1) / inputs.shape[1] ** 0.5
        coarse = _STRENGTH * torch.tanh(drawn).reshape(-1, 3, _DRAWN, _DRAWN)
        prompt = F.interpolate(coarse, size=pixels.shape[-2:], mode="bilinear")
        moved = (pixels + 255 * prompt).round().clamp(0, 255).to(torch.uint8)
        return moved.permute(0, 2, 3, 1).contiguous().numpy()


def _seen(pixels: Tensor) -> Tensor:
    """(N, p) what the encoder sees of the pixels."""
    return F.interpolate(pixels.float() / 255, size=(_SEEN, _SEEN), mode="area").flatten(1)
