"""BPT-VLM: tokens for texts and images, each by a random projection, by evolution strategies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from craft_zoo import optimizers
from craft_zoo.blackbox.base import VLM, ImageSet
from craft_zoo.blackbox.image_tokens import Embeddings, WithTokens
from craft_zoo.craft import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import mean_losses
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers import Optimizer
from craft_zoo.optimizers.mmes import MMES
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import Subspace
from craft_zoo.seeding import derived_seed, generator
from craft_zoo.solution import Solution

TOKENS = 8  # of a text
START = " ".join(["X"] * TOKENS)
POPSIZE = 30
_PATCH_WEIGHTS = 3072  # of ViT-B/32, 32 x 32 x 3; the released code has the number for all models

_OPTIMIZERS = {
    "cma": f"cma:popsize={POPSIZE},step=csa",
    "sep-cma": f"sep-cma:popsize={POPSIZE}",
    "lm-ma-es": f"lm-ma-es:popsize={POPSIZE}",
}


@dataclass(kw_only=True)
class TokenPrompts(AlteredImages):
    """A context, and tokens with which the model reads the images.

    Attributes:
        tokens: (n, width) float32.
    """

    tokens: np.ndarray = field(repr=False)

    def alter(self, images: ImageSet) -> ImageSet:
        """The images with the tokens."""
        return with_tokens(self.vlm, images, self.tokens)


def with_tokens(vlm: VLM, images: ImageSet, tokens: np.ndarray) -> ImageSet:
    """Images that the model reads with tokens behind their patches, if there are any.

    Args:
        vlm: the model.
        images: images of it.
        tokens: (n, width), or (L, n, width) for its first L layers.
    """
    if not tokens.size:
        return images
    return vlm.images([WithTokens(source, tokens) for source in images.sources], keep=False)


class TokenSpace:
    """Contexts and image tokens for candidates: a linear map of each half.

    Args:
        width: of a token of a text.
        image: number of image tokens, and the numbers of each.
        maps: standard deviation of the entries of the texts' map, whose mean is 0, and mean and
            standard deviation of those of the images' map.
        dim: d, coordinates of each half.
        seed: seed of the maps.
    """

    def __init__(
        self,
        width: int,
        image: tuple[int, int],
        maps: tuple[float, tuple[float, float]],
        *,
        dim: int,
        seed: int,
    ) -> None:
        self._dim, self._image = dim, image
        nothing = np.zeros((TOKENS, width), np.float32)
        spread, (mean, std) = maps
        self._texts = Subspace(nothing, dim, std=spread, seed=seed)
        shape = image[0] * image[1], dim
        unit = generator(seed, "image tokens").standard_normal(shape)
        self._images = (mean + std * unit).astype(np.float32)
        self.dim = dim * (1 + (image[0] > 0))

    def contexts(self, candidates: np.ndarray) -> np.ndarray:
        """(P, dim) candidates → (P, 8, width) float32 contexts."""
        return self._texts.prompts(candidates[:, : self._dim])

    def tokens(self, candidate: np.ndarray) -> np.ndarray:
        """(dim,) candidate → (n, width) float32 image tokens."""
        if not self._image[0]:
            return np.zeros(self._image, np.float32)
        half = candidate[self._dim :].astype(np.float32)
        return (self._images @ half).reshape(self._image)


def first_maps(embeddings: Embeddings, dim: int) -> tuple[float, tuple[float, float]]:
    """Entries of the maps to the tokens that a model's first layers read, see :class:`TokenSpace`.

    Args:
        embeddings: statistics of the model.
        dim: d, coordinates of each half.
    """
    mean, std = embeddings.patches
    share = _PATCH_WEIGHTS / dim
    return embeddings.words / np.sqrt(dim), (mean * share, std * np.sqrt(share))


OPTIONS = (
    Option(
        "optimizer",
        Literal["cma", "sep-cma", "mmes", "lm-ma-es"],
        "cma",
        "cma, sep-cma, mmes or lm-ma-es, in generations of 30",
    ),
    Option("image_tokens", int, 5, "tokens added to an image's patches, if the model accepts them"),
    Option("dim", int, 500, "coordinates of the texts, and of the images"),
)


@register_method(
    "bpt-vlm",
    uses_optimizer=False,
    settings=(),
    own=OPTIONS,
    start=START,
    deployable=False,
)
def bpt_vlm(problem: Problem) -> Iterator[Step]:
    """Tokens for texts and images by evolution strategies (BPT-VLM, Yu et al. 2023).

    8 context tokens and 5 image tokens are random projections of 500 coordinates each, which start
    at 0. Images get tokens where the model is a vision transformer of open_clip on this machine,
    which then encodes all images at each query; otherwise the texts are searched alone.
    """
    own = problem.own_of("bpt-vlm")
    count, dim = read_sizes(problem, "bpt-vlm")
    start = problem.initial_context
    unknown = Embeddings(float(start.std()), width=0, patches=(0.0, 0.0))
    embeddings = problem.vlm.embeddings() or unknown
    image = (count, embeddings.width) if count and embeddings.width else (0, 0)
    maps = first_maps(embeddings, dim)
    space = TokenSpace(start.shape[1], image, maps, dim=dim, seed=problem.seed)
    seed = derived_seed(problem.seed, "optimizer")
    optimizer = create_optimizer(own("optimizer"), space.dim, budget=problem.budget, seed=seed)
    yield Step(0, Solution(space.contexts(np.zeros((1, space.dim)))[0]))
    meter, labels = problem.meter, problem.labels
    search = meter.wrap(problem.box, "search")
    reports = Reports(problem.budget)
    while meter.remaining and not optimizer.stop:
        candidates = optimizer.ask()[: meter.remaining]
        contexts = space.contexts(candidates)
        if image[0]:
            logits = np.stack(
                [
                    search.score(
                        context, with_tokens(problem.vlm, problem.images, space.tokens(candidate))
                    )
                    for context, candidate in zip(contexts, candidates, strict=True)
                ]
            )
        else:
            logits = np.stack(list(search.logits(contexts, problem.images)))
        losses = mean_losses(logits, labels)
        optimizer.tell(candidates, losses)
        is_last = not meter.remaining or optimizer.stop is not None
        if reports.due(meter.queries, is_last=is_last):
            best = optimizer.best.point
            solution = TokenPrompts(
                prompt=space.contexts(best[None])[0], vlm=problem.vlm, tokens=space.tokens(best)
            )
            place = int(np.argmin(losses))
            learnt = accuracy(logits[place], labels)
            yield Step(meter.queries, solution, float(losses[place]), learnt)


def read_sizes(problem: Problem, method: str) -> tuple[int, int]:
    """The settings ``image_tokens`` and ``dim`` of a method.

    Raises:
        CraftZooError: one is too small.
    """
    own = problem.own_of(method)
    count, dim = own("image_tokens"), own("dim")
    if count < 0 or dim < 4:
        raise CraftZooError(
            f"settings {method}.image_tokens and {method}.dim must be at least 0 and 4, not "
            f"{count} and {dim}"
        )
    return count, dim


def create_optimizer(name: str, dim: int, *, budget: int, seed: int) -> Optimizer:
    """One of the optimizers of the setting ``optimizer``, in generations of 30."""
    if name == "mmes":
        return MMES(dim, popsize=POPSIZE, budget=budget, seed=seed)
    return optimizers.create(_OPTIMIZERS[name], dim, budget=budget, seed=seed)
