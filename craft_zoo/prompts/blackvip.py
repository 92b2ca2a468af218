"""BlackVIP's decoder, which draws a visual prompt for each image from its code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from craft_zoo.data.float_image import FloatImage
from craft_zoo.errors import CraftZooError

_GRID = 7  # side of the decoder's input
# Mean and standard deviation with which CLIP normalises colours in [0, 1].
_MEAN, _STD = (
    torch.tensor(each).reshape(3, 1, 1)
    for each in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
)


class Decoder(nn.Module):
    """Draws prompts from codes by transposed convolutions, with a trigger that all images share.

    Code and trigger together are channels of 7 x 7 numbers. Each of five layers doubles the side,
    the last to 224 pixels; between them are batch normalisations and GELU. With codes of 768
    numbers, and so a trigger of 800, it has BlackVIP's 9,920 parameters.

    In training mode the normalisations use the batch's statistics and update the running ones,
    with which the deployed decoder normalises.

    Args:
        width: D, numbers of a code.
        rng: source of the initial parameters: PyTorch's default, and a trigger uniform in [0, 0.1].

    Raises:
        CraftZooError: a code is too long.
    """

    def __init__(self, width: int, rng: torch.Generator) -> None:
        super().__init__()
        channels = next((each for each in (32, 64) if each * _GRID**2 > width), None)
        if channels is None:
            raise CraftZooError(
                f"the encoder of BlackVIP gives {width:,} numbers an image, and its decoder takes "
                f"{64 * _GRID**2 - 1:,} at most: name another encoder"
            )
        self.trigger = nn.Parameter(torch.empty(channels * _GRID**2 - width))
        layers: list[nn.Module] = []
        for before, within, after in ((channels, 64, 64), (64, 64, 32), (32, 32, 32), (32, 32, 16)):
            layers += [
                _doubling(before, within, groups=before, bias=True),
                nn.utils.skip_init(nn.ConvTranspose2d, within, after, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.GELU(),
            ]
        self.body = nn.Sequential(*layers, _doubling(16, 3, groups=1, bias=False))
        nn.init.uniform_(self.trigger, 0, 0.1, generator=rng)
        for layer in self.body:
            if isinstance(layer, nn.ConvTranspose2d):
                bound = 1 / math.sqrt(layer.weight[0].numel())  # PyTorch's own default
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=rng)
        self.requires_grad_(False)

    def forward(self, codes: Tensor) -> Tensor:
        """(N, D) codes → (N, 3, 224, 224) prompts."""
        both = torch.cat([codes, self.trigger.expand(len(codes), -1)], dim=1)
        return self.body(both.reshape(len(codes), -1, _GRID, _GRID))

    @property
    def vector(self) -> np.ndarray:
        """(P,) float64, all parameters."""
        return nn.utils.parameters_to_vector(self.parameters()).numpy().astype(np.float64)

    @vector.setter
    def vector(self, values: np.ndarray) -> None:
        filled = torch.from_numpy(values.astype(np.float32))
        nn.utils.vector_to_parameters(filled, self.parameters())


def _doubling(before: int, after: int, *, groups: int, bias: bool) -> nn.ConvTranspose2d:
    # PyTorch would draw its weights from the global generator, hence skip_init.
    return nn.utils.skip_init(
        nn.ConvTranspose2d, before, after, 2, stride=2, groups=groups, bias=bias
    )


def prompted(pixels: Tensor, prompts: Tensor, strength: float) -> list[FloatImage]:
    """Images with visual prompts, clipped to what an image can show.

    Args:
        pixels: (N, 3, S, S) uint8.
        prompts: (N, 3, S, S), added to colours as CLIP normalises them.
        strength: factor of the prompts.
    """
    moved = pixels / 255 + strength * _STD * prompts
    return [FloatImage(each) for each in moved.clamp(0, 1).permute(0, 2, 3, 1).numpy()]


@torch.no_grad()
def class_tokens(model: Any, pixels: Tensor) -> Tensor:
    """(N, D) class tokens of N images before the last normalisation, by a transformer of timm."""
    parts = []
    for some in pixels.split(32):
        _, prefix = model.forward_intermediates(
            (some / 255 - _MEAN) / _STD,
            indices=1,
            norm=False,
            return_prefix_tokens=True,
            intermediates_only=True,
        )[0]
        parts.append(prefix[:, 0])
    return torch.cat(parts)
