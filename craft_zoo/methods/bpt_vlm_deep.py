"""BPT-VLM's deep variant: tokens in each layer of both towers, with an evolution strategy each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet
from craft_zoo.blackbox.image_tokens import WithTokens
from craft_zoo.craft import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import mean_losses
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.bpt_vlm import (
    POPSIZE,
    START,
    TOKENS,
    TokenSpace,
    create_optimizer,
    first_maps,
    read_sizes,
    with_tokens,
)
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.methods.white_box import local_model
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import derived_seed, generator

if TYPE_CHECKING:
    from craft_zoo.openclip.white_box import WhiteBox

_LAYERS = 12  # those of ViT-B/32, the authors' model
_SPREAD_IMAGES = 64  # a batch of the released code, by which the maps of the images are scaled

OPTIONS = (
    Option("layers", int | None, None, "layers with tokens; none: 12, or all if there are fewer"),
    Option("image_tokens", int, 5, "tokens added to an image's patches, if the model accepts them"),
    Option("dim", int, 500, "coordinates of the texts, and of the images, in each layer"),
)


@dataclass(kw_only=True)
class LayerTokens(AlteredImages):
    """Tokens in the first L layers of both towers, which no adapter can represent.

    Attributes:
        opened: the model opened on the class names.
        texts: (L, 8, dim) float32 tokens before the class names.
        images: (L, n, width) float32 tokens behind the patches of an image; n may be 0.
    """

    opened: WhiteBox = field(repr=False)
    texts: np.ndarray = field(repr=False)
    images: np.ndarray = field(repr=False)

    def with_candidate(self, layer: int, space: TokenSpace, candidate: np.ndarray) -> LayerTokens:
        """These tokens with those of a candidate in one layer."""
        texts, images = self.texts.copy(), self.images.copy()
        texts[layer] = space.contexts(candidate[None])[0]
        images[layer] = space.tokens(candidate)
        return replace(self, prompt=texts[0], texts=texts, images=images)

    def first_layer(self) -> LayerTokens:
        """The tokens of the first layer alone."""
        return replace(self, texts=self.texts[:1], images=self.images[:1])

    def alter(self, images: ImageSet) -> ImageSet:
        """The images with their tokens."""
        return with_tokens(self.vlm, images, self.images)

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the images, without querying the black box."""
        import torch

        texts = torch.from_numpy(self.texts)
        with torch.inference_mode():
            return self.opened.logits(texts[0], self.alter(images), texts[1:]).numpy()


@register_method(
    "bpt-vlm-deep",
    uses_optimizer=False,
    white_box=True,
    settings=(),
    own=OPTIONS,
    queries=lambda _, budget, __: budget,
    start=START,
    deployable=False,
    uses_torch=True,
)
def bpt_vlm_deep(problem: Problem) -> Iterator[Step]:
    """White box: tokens in all layers by CMA-ES (BPT-VLM's deep variant, Yu et al. 2023).

    In turn, the tokens of each layer are searched for a generation of 30 candidates, while the
    other layers have the best tokens so far. Images have tokens where the model is a vision
    transformer of open_clip. A query is an evaluation of the model with its tokens.
    """
    vlm, seed = local_model(problem), problem.seed
    count, dim = read_sizes(problem, "bpt-vlm-deep")
    opened = vlm.white_box(problem.box.classnames, problem.box.template)
    n_layers, generations = _sizes(problem, opened.layers)
    embeddings, width = vlm.embeddings(), problem.initial_context.shape[1]
    image = (count, embeddings.width) if count and embeddings.width else (0, 0)
    # As in the released code, the maps of texts and images have the spread of the words.
    scaled = embeddings._replace(patches=(embeddings.patches[0], embeddings.words))
    spaces = [TokenSpace(width, image, first_maps(scaled, dim), dim=dim, seed=seed)]
    searches = [
        create_optimizer(
            "cma",
            spaces[0].dim,
            budget=generations * POPSIZE,
            seed=derived_seed(seed, f"optimizer of layer {layer}"),
        )
        for layer in range(n_layers)
    ]
    best = LayerTokens(
        prompt=np.zeros((TOKENS, width), np.float32),
        vlm=vlm,
        opened=opened,
        texts=np.zeros((n_layers, TOKENS, width), np.float32),
        images=np.zeros((n_layers, *image), np.float32),
    )
    yield Step(0, best)
    least, meter, reports = np.inf, problem.meter, Reports(problem.budget)
    turns = [*enumerate(searches)] * generations
    for place, (layer, search) in enumerate(turns, start=1):
        candidates = np.zeros((0, search.dim)) if search.stop else search.ask()
        meter.charge(len(candidates), len(problem.labels), "search")
        losses = []
        for candidate in candidates:
            tried = best.with_candidate(layer, spaces[layer], candidate)
            read = tried
            if least == np.inf:
                # The released code reads the first candidate without tokens in later layers.
                read = tried.first_layer()
                spaces += _later_spaces(read, problem, n_layers, dim)
            losses.append(_loss(read, problem))
            if losses[-1] < least:
                best, least = tried, losses[-1]
        if losses:
            search.tell(candidates, np.array(losses))
        if reports.due(meter.queries, is_last=place == len(turns)):
            learnt = accuracy(best.logits(problem.box, problem.images), problem.labels)
            yield Step(meter.queries, best, least, learnt)


def _loss(tokens: LayerTokens, problem: Problem) -> float:
    logits = tokens.logits(problem.box, problem.images)
    return float(mean_losses(logits[None], problem.labels)[0])


def _sizes(problem: Problem, layers: int) -> tuple[int, int]:
    """Layers with tokens, and generations of each.

    Args:
        problem: the problem.
        layers: those of the model that can have tokens.

    Raises:
        CraftZooError: the model has fewer layers, or the budget is too small.
    """
    if not layers:
        raise CraftZooError(
            f"bpt-vlm-deep needs a text tower of open_clip, which {problem.vlm.name} has not: use "
            f"bpt-vlm"
        )
    n_layers = problem.own("bpt-vlm-deep.layers")
    if n_layers is None:
        n_layers = min(layers, _LAYERS)
    if not 1 <= n_layers <= layers:
        raise CraftZooError(
            f"setting bpt-vlm-deep.layers must be from 1 to {layers} with {problem.vlm.name}, not "
            f"{n_layers}"
        )
    what = f"a generation of each of the {n_layers} layers"
    problem.check_budget(n_layers * POPSIZE, what, "bpt-vlm-deep.layers")
    return n_layers, problem.budget // (n_layers * POPSIZE)


def _later_spaces(
    first: LayerTokens, problem: Problem, n_layers: int, dim: int
) -> list[TokenSpace]:
    """The spaces of the second to last layers, scaled by what the layers make of the inputs.

    Args:
        first: tokens of the first layer.
        problem: the problem.
        n_layers: number of layers with tokens.
        dim: coordinates of texts, and of images.
    """
    import torch

    vlm, seed = local_model(problem), problem.seed
    texts = first.opened.spreads(torch.from_numpy(first.texts[0]))
    images = [0.0] * n_layers
    if first.images.size:
        some = generator(seed, "spread").permutation(len(problem.labels))[:_SPREAD_IMAGES]
        sources, tokens = problem.images.sources, first.images[0]
        images = vlm.image_spreads([WithTokens(sources[place], tokens) for place in some])
    return [
        TokenSpace(
            first.texts.shape[2],
            first.images.shape[1:],
            (texts[layer] / np.sqrt(dim), (0.0, images[layer] / np.sqrt(dim))),
            dim=dim,
            seed=derived_seed(seed, f"layer {layer}"),
        )
        for layer in range(1, n_layers)
    ]
