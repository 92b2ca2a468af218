"""BlackVIP and BlackVIP-SE: a decoder draws a visual prompt for each image, by SPSA-GC."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.base import VLM, ImageSet
from craft_zoo.craft import DATASET_TEMPLATE, Step
from craft_zoo.data.float_image import FloatImage
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.local_features import check_features, extract
from craft_zoo.local_features.towers import timm_model
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.methods.batches import batch_options, training_batches
from craft_zoo.methods.zip import CROP
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.blackvip_spsa import BlackvipSPSA
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import PrincipalComponents, square_pixels
from craft_zoo.seeding import derived_seed

SIDE = 224  # of a prompted image in pixels
_GRID = 7  # side of the decoder's input
_MAE = "timm:vit_base_patch16_224.mae"
# Mean and standard deviation with which CLIP normalises colours in [0, 1].
_MEAN, _STD = (
    torch.tensor(each).reshape(3, 1, 1)
    for each in ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
)


class Gains(NamedTuple):
    """Settings that BlackVIP's authors released for a data set; the defaults are those of others.

    Attributes:
        momentum: of SPSA-GC.
        gamma: exponent with which the distance of the candidates shrinks.
        c: distance of the candidates.
        strength: factor of the visual prompt.
    """

    momentum: float = 0.9
    gamma: float = 0.1
    c: float = 0.01
    strength: float = 1.0


TABLE = {
    "caltech101": Gains(0.9, 0.2, 0.005, 0.2),
    "oxford_pets": Gains(0.9, 0.1, 0.01, 1),
    "stanford_cars": Gains(0.9, 0.2, 0.01, 0.3),
    "oxford_flowers": Gains(0.5, 0.2, 0.02, 1),
    "food101": Gains(0.9, 0.1, 0.01, 0.3),
    "fgvc_aircraft": Gains(0.3, 0.1, 0.01, 0.5),
    "sun397": Gains(0.5, 0.1, 0.01, 1),
    "dtd": Gains(0.7, 0.2, 0.01, 0.3),
    "svhn": Gains(0.9, 0.2, 0.005, 1),
    "eurosat": Gains(0.9, 0.2, 0.005, 0.4),
    "resisc45": Gains(0.95, 0.1, 0.01, 0.3),
    "ucf101": Gains(0.9, 0.1, 0.01, 0.3),
    "imagenet": Gains(0.9, 0.2, 0.005, 0.3),
}


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


Encoder = Callable[[Tensor], Tensor]
"""Maps (N, 3, 224, 224) uint8 pixels to (N, D) codes."""


@dataclass(kw_only=True)
class PromptedImages(AlteredImages):
    """Visual prompts for images.

    Attributes:
        encoder: the encoder.
        decoder: the decoder, in evaluation mode.
        strength: factor of the prompts.
    """

    encoder: Encoder = field(repr=False)
    decoder: Decoder = field(repr=False)
    strength: float

    def alter(self, images: ImageSet) -> ImageSet:
        """The prompted images."""
        shown: list[ImageSource] = []
        for first in range(0, len(images), 128):
            pixels = square_pixels(images.sources[first : first + 128], SIDE)
            shown.extend(prompted(pixels, self.decoder(self.encoder(pixels)), self.strength))
        return self.vlm.images(shown, keep=False)


def _options(*more: Option) -> tuple[Option, ...]:
    unless = "none: by data set"
    return (
        *more,
        Option("pairs", int, 5, "pairs of candidates that a gradient is averaged over"),
        Option("a", float, 0.01, "gain of the steps"),
        Option("c", float | None, None, f"distance of the candidates; {unless}"),
        Option("gamma", float | None, None, f"exponent with which it shrinks; {unless}"),
        Option("momentum", float | None, None, f"share that a step keeps; {unless}"),
        Option("strength", float | None, None, f"factor of the visual prompt; {unless}"),
        *batch_options(128),
    )


@register_method(
    "blackvip",
    uses_optimizer=False,
    settings=(),
    own=_options(Option("encoder", str, _MAE, "local features that the decoder reads")),
    earlier={"encoder": ""},  # no value of it: what was called blackvip is now visual-prompt
    deployable=False,
    start=DATASET_TEMPLATE,
)
def blackvip(problem: Problem) -> Iterator[Step]:
    """A visual prompt drawn for each image from ViT-MAE's code (BlackVIP, Oh et al. 2023).

    The encoder is any tower of ``craft_zoo.local_features``; of timm's vision transformers the
    class token is taken before the last normalisation, as BlackVIP's code does. A query scores one
    decoder on one batch of at most 128 augmented images, which are encoded anew each time.
    """
    spec = problem.own("blackvip.encoder")
    check_features(spec)
    return _search(problem, "blackvip", _tower(spec, problem.vlm))


@register_method(
    "blackvip-se",
    uses_optimizer=False,
    settings=(),
    own=_options(),
    deployable=False,
    start=DATASET_TEMPLATE,
)
def blackvip_se(problem: Problem) -> Iterator[Step]:
    """BlackVIP with a PCA of the training images as its encoder (BlackVIP-SE, Oh et al. 2024)."""
    pixels = square_pixels(problem.images.sources, SIDE)
    return _search(problem, "blackvip-se", PrincipalComponents.of(pixels))


def _search(problem: Problem, name: str, encoder: Encoder) -> Iterator[Step]:
    def own(setting: str) -> Any:
        return problem.own(f"{name}.{setting}")

    problem.check_positive(f"{name}.batch")
    released = TABLE.get(problem.name, Gains())
    given = {key: own(key) for key in Gains._fields if own(key) is not None}
    gains = released._replace(**given)
    width = encoder(square_pixels(problem.images.sources[:1], SIDE)).shape[1]
    seed = derived_seed(problem.seed, f"{name} decoder")
    decoder = Decoder(width, torch.Generator().manual_seed(seed))
    start = decoder.vector
    optimizer = BlackvipSPSA(
        len(start),
        pairs=own("pairs"),
        a=own("a"),
        c=gains.c,
        gamma=gains.gamma,
        momentum=gains.momentum,
        budget=problem.budget,
        seed=derived_seed(problem.seed, "optimizer"),
    )
    prompt = problem.initial_prompt
    yield Step(0, Solution(prompt))
    meter = problem.meter
    search = meter.wrap(problem.box, "search")
    drawn = training_batches(problem, name, side=SIDE, crop=CROP)
    reports = Reports(problem.budget)
    while meter.remaining and not optimizer.stop:
        chosen, labels = next(drawn)
        pixels = square_pixels(chosen, SIDE)
        codes = encoder(pixels)
        candidates = optimizer.ask()[: meter.remaining]
        losses, learnt = [], []
        for candidate in candidates:
            decoder.vector = start + candidate
            shown = prompted(pixels, decoder(codes), gains.strength)
            logits = search.score(prompt, problem.vlm.images(shown, keep=False))
            losses.append(float(cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))))
            learnt.append(accuracy(logits, labels))
        optimizer.tell(candidates, np.array(losses))
        if reports.due(meter.queries, is_last=not meter.remaining):
            best = int(np.argmin(losses))
            decoder.vector = start + optimizer.recommend()
            solution = PromptedImages(
                prompt=prompt,
                vlm=problem.vlm,
                encoder=encoder,
                decoder=copy.deepcopy(decoder).eval(),
                strength=gains.strength,
            )
            yield Step(meter.queries, solution, losses[best], learnt[best])


def _tower(spec: str, vlm: VLM) -> Encoder:
    scheme, _, name = spec.partition(":")
    if scheme == "timm" and getattr(timm_model(name)[0], "num_prefix_tokens", False):
        return lambda pixels: _class_tokens(timm_model(name)[0], pixels)

    def encode(pixels: Tensor) -> Tensor:
        shown = ImageSet(list(pixels.permute(0, 2, 3, 1).numpy()), vlm)
        return torch.from_numpy(np.concatenate(extract(spec, shown), axis=1))

    return encode


@torch.no_grad()
def _class_tokens(model: Any, pixels: Tensor) -> Tensor:
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
