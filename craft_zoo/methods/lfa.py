"""LFA: a linear map that aligns the vectors of images with those of the class prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.templates import filled
from craft_zoo.craft import DATASET_TEMPLATE, Step
from craft_zoo.data.augment import View
from craft_zoo.data.images import ImageSource, image_size
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.methods.vectors import check_sells_vectors
from craft_zoo.methods.white_box import local_model
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import derived_seed, generator
from craft_zoo.solution import Solution

if TYPE_CHECKING:
    from torch import Tensor

ITERATIONS = {
    "caltech101": 1000,
    "dtd": 1000,
    "eurosat": 100,
    "food101": 100,
    "fgvc_aircraft": 1000,
    "oxford_flowers": 100,
    "oxford_pets": 30,
    "stanford_cars": 2000,
    "sun397": 100,
}
"""Steps of the refinement by data set, where they are not the authors' default of 200."""

_TEMPERATURE = 0.07  # of the deployed logits
_NEIGHBOURS, _SCALE = 3, 4.0  # of the re-ranking loss
_NOISE, _DROPOUT = 0.035, 0.05  # each in half of the steps
_WEIGHT_DECAY, _LAST_LR = 5e-4, 1e-7
_BETAS, _SPLITS, _KEPT = 25, 3, 0.8  # of the cross-validation
_BATCH = 0.75  # share of the images in a batch, without crops

OPTIONS = (
    Option("iterations", int | None, None, "steps of the refinement; none: by data set"),
    Option("beta", float | None, None, "share of the identity in the first map; none: validated"),
    Option("lr", float, 5e-4, "learning rate of the refinement"),
    Option("crops", bool, True, "whether it learns from the corners and the centre of an image"),
)


@register_method(
    "lfa",
    uses_optimizer=False,
    settings=(),
    own=OPTIONS,
    queries=lambda *_: 0,
    asks_initial=False,
    deployable=False,
    start=DATASET_TEMPLATE,
    uses_torch=True,
)
def lfa(problem: Problem) -> Iterator[Step]:
    """A linear map from image vectors to those of class prompts (LFA, Ouali et al. 2023).

    It needs the vectors of the training images and of the C prompts, which a service sells, and no
    query. The first map is the orthogonal one of least squares, partly the identity; AdamW then
    minimises a re-ranking loss.
    """
    check_sells_vectors(problem, "lfa-local")
    return _aligned(problem, "lfa")


@register_method(
    "lfa-local",
    uses_optimizer=False,
    white_box=True,
    settings=(),
    own=OPTIONS,
    deployable=False,
    start=DATASET_TEMPLATE,
    uses_torch=True,
)
def lfa_local(problem: Problem) -> Iterator[Step]:
    """White box: as lfa, on the features of a model on this machine."""
    local_model(problem)
    return _aligned(problem, "lfa-local")


@dataclass(kw_only=True)
class Aligned(Solution):
    """A linear map of image vectors, which no adapter can represent.

    Attributes:
        vlm: the model that computes the vectors.
        weight: (dim, dim), applied to the right of a vector.
        texts: (C, dim) vectors of the class prompts.
    """

    deployable: ClassVar[bool] = False

    vlm: VLM
    weight: np.ndarray
    texts: np.ndarray

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the mapped vectors, without querying the black box."""
        return scores(self.vlm.features(images), self.weight, self.texts)


def scores(vectors: np.ndarray, weight: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(N, C) float32 logits of (N, dim) image vectors and (C, dim) text vectors."""
    mapped = vectors @ weight
    mapped = mapped / np.linalg.norm(mapped, axis=-1, keepdims=True)
    return (mapped @ texts.T / _TEMPERATURE).astype(np.float32)


def _aligned(problem: Problem, name: str) -> Iterator[Step]:
    own = problem.own_of(name)
    vlm, labels = problem.vlm, problem.labels
    texts = vlm.text_features(filled(problem.template, problem.box.classnames))
    sources = problem.images.sources
    crops = _crops(vlm, sources) if own("crops") else vlm.features(problem.images)[:, None]
    if texts.shape[1] != crops.shape[2]:
        raise CraftZooError(
            f"{vlm.name} has vectors of {crops.shape[2]} numbers for images and of "
            f"{texts.shape[1]} for texts: use a model that embeds both together"
        )
    central = crops[:, -1]
    beta = own("beta")
    if beta is None:
        beta = choose_beta(central, texts, labels, generator(problem.seed, "lfa splits"))
    # The authors' fixed beta is applied to all crops, a validated one to the central crop alone.
    seen = slice(-1, None) if own("beta") is None else slice(None)
    places = np.repeat(labels, crops[:, seen].shape[1])
    first = procrustes(crops[:, seen].reshape(len(places), -1), texts[places], beta)
    steps = own("iterations")
    if steps is None:
        steps = ITERATIONS.get(problem.name, 200)
    weight = refine(
        first,
        crops,
        texts,
        labels,
        steps=steps,
        lr=own("lr"),
        rng=generator(problem.seed, "lfa"),
        torch_seed=derived_seed(problem.seed, "lfa noise"),
    )
    solution = Aligned(prompt=problem.initial_prompt, vlm=vlm, weight=weight, texts=texts)
    yield Step(0, solution, train_accuracy=accuracy(scores(central, weight, texts), labels))


def _crops(vlm: VLM, sources: Sequence[ImageSource]) -> np.ndarray:
    """(N, 5, dim) vectors of the squares in the four corners and in the centre of N images.

    The side of the squares is the shorter side of the image, so those of a square image are equal
    and passed to the model once.
    """
    views: list[View] = []
    places = []
    for source in sources:
        width, height = image_size(source)
        side = min(width, height)
        right, low = width - side, height - side
        corners = [(0, 0), (right, 0), (0, low), (right, low), (right // 2, low // 2)]
        own = list(dict.fromkeys(corners))
        places.append([len(views) + own.index(corner) for corner in corners])
        views += [
            View(source, (left, top, left + side, top + side), False, vlm.image_size)
            for left, top in own
        ]
    return vlm.features(vlm.images(views, keep=False))[np.array(places)]


def procrustes(vectors: np.ndarray, targets: np.ndarray, beta: float) -> np.ndarray:
    """(dim, dim) the orthogonal map W of least squares, moved to ``(1 - beta) W + beta I``.

    Args:
        vectors: (N, dim) of images.
        targets: (N, dim) of the prompts of their classes.
        beta: share of the identity.
    """
    left, _, right = np.linalg.svd(vectors.T.astype(np.float64) @ targets)
    return (1 - beta) * left @ right + beta * np.eye(len(left))


def choose_beta(
    vectors: np.ndarray, texts: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> float:
    """The first of 25 equally spaced shares of the identity with the highest accuracy.

    Each is tried on three random splits, fitted to 80 % of the images and tested on the others.
    """
    best, chosen, kept = -1.0, 0.0, int(_KEPT * len(vectors))
    for beta in np.linspace(0, 1, _BETAS):
        found = 0.0
        for _ in range(_SPLITS):
            order = rng.permutation(len(vectors))
            fitted, held = order[:kept], order[kept:]
            weight = procrustes(vectors[fitted], texts[labels[fitted]], beta)
            found += accuracy(scores(vectors[held], weight, texts), labels[held])
        if found > best:
            best, chosen = found, float(beta)
    return chosen


def refine(
    first: np.ndarray,
    crops: np.ndarray,
    texts: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int,
    lr: float,
    rng: np.random.Generator,
    torch_seed: int,
) -> np.ndarray:
    """(dim, dim) a map that AdamW has improved by the re-ranking loss, at a cosine rate.

    A step sees one crop of each image, the same of all, or, if there is only one, 75 % of the
    images. In half of the steps the vectors get normal noise, in half some of their numbers are
    zero.

    Args:
        first: (dim, dim), the map to begin with.
        crops: (N, K, dim) vectors of K crops of each image.
        texts: (C, dim) vectors of the class prompts.
        labels: (N,) int64.
        steps: number of steps.
        lr: first learning rate.
        rng: source of the choices.
        torch_seed: seed of the noise.
    """
    import torch

    noise = torch.Generator().manual_seed(torch_seed)
    weight = torch.tensor(first, dtype=torch.float32, requires_grad=True)
    inputs = torch.from_numpy(np.asarray(crops, dtype=np.float32))
    prototypes = torch.from_numpy(np.asarray(texts, dtype=np.float32))
    answers = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, max(1, steps), eta_min=_LAST_LR
    )
    n, count = inputs.shape[:2]
    for _ in range(steps):
        batch = inputs[:, int(rng.integers(count))]
        rows = torch.arange(n)
        if count == 1:
            rows = torch.from_numpy(rng.permutation(n)[: max(1, int(_BATCH * n))])
        batch = batch[rows]
        if rng.uniform() > 0.5:
            batch = batch + _NOISE * torch.randn(batch.shape, generator=noise)
        if rng.uniform() > 0.5:
            kept = torch.rand(batch.shape, generator=noise) >= _DROPOUT
            batch = batch * kept / (1 - _DROPOUT)
        loss = reranking_loss(batch @ weight, prototypes, answers[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return weight.detach().numpy()


def reranking_loss(vectors: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
    """Mean over images and their nearest three prompts of a hinge loss with an adaptive margin.

    An image should be nearer to the prompt of its class than to another, by a quarter of one minus
    the cosine of the two prompts.

    Args:
        vectors: (N, dim) of images.
        texts: (C, dim) of class prompts.
        labels: (N,) int64.
    """
    import torch
    from torch.nn import functional as F

    vectors, texts = F.normalize(vectors, dim=-1), F.normalize(texts, dim=-1)
    own = texts[labels]
    anchor = (vectors - own).square().sum(-1).sqrt()[:, None]
    nearest, places = torch.cdist(vectors, texts).sort(dim=1)
    count = min(_NEIGHBOURS, len(texts))
    margins = (1 - (texts[places[:, :count]] * own[:, None]).sum(-1)) / _SCALE
    return (anchor + margins - nearest[:, :count]).clamp(min=0).mean()
