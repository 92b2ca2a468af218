"""BlackVIP and BlackVIP-SE: a decoder draws a visual prompt for each image, by SPSA-GC."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from craft_zoo.blackbox.base import VLM, ImageSet
from craft_zoo.craft import DATASET_TEMPLATE, Step
from craft_zoo.data.images import ImageSource
from craft_zoo.local_features import check_features, extract
from craft_zoo.losses import mean_losses
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.batches import batch_options, training_batches
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.blackvip_spsa import BlackvipSPSA
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import derived_seed
from craft_zoo.solution import Solution
from craft_zoo.tensors import Tensor, tensor

if TYPE_CHECKING:
    from craft_zoo.prompts.blackvip import Decoder

SIDE = 224  # of a prompted image in pixels
_MAE = "timm:vit_base_patch16_224.mae"


class Gains(NamedTuple):
    """Settings that BlackVIP's authors released for a data set; the defaults are for all others.

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
    "clevr": Gains(0.9, 0.2, 0.005, 1),
    "ucf101": Gains(0.9, 0.1, 0.01, 0.3),
    "imagenet": Gains(0.9, 0.2, 0.005, 0.3),
}


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
        from craft_zoo.prompts.blackvip import prompted
        from craft_zoo.prompts.visual import square_pixels

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
    uses_torch=True,
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
    uses_torch=True,
)
def blackvip_se(problem: Problem) -> Iterator[Step]:
    """BlackVIP with a PCA of the training images as its encoder (BlackVIP-SE, Oh et al. 2024)."""
    from craft_zoo.prompts.visual import PrincipalComponents, square_pixels

    pixels = square_pixels(problem.images.sources, SIDE)
    return _search(problem, "blackvip-se", PrincipalComponents.of(pixels))


def _search(problem: Problem, name: str, encoder: Encoder) -> Iterator[Step]:
    import torch

    from craft_zoo.prompts.blackvip import Decoder, prompted
    from craft_zoo.prompts.visual import square_pixels

    own = problem.own_of(name)
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
    drawn = training_batches(problem, name, side=SIDE)
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
            losses.append(float(mean_losses(logits, labels)))
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
    from craft_zoo.local_features.towers import timm_model
    from craft_zoo.prompts.blackvip import class_tokens

    scheme, _, name = spec.partition(":")
    if scheme == "timm" and getattr(timm_model(name)[0], "num_prefix_tokens", False):
        return lambda pixels: class_tokens(timm_model(name)[0], pixels)

    def encode(pixels: Tensor) -> Tensor:
        shown = ImageSet(list(pixels.permute(0, 2, 3, 1).numpy()), vlm)
        return tensor(np.concatenate(extract(spec, shown), axis=1))

    return encode
