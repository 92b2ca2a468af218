"""Predicts the queries of a run: its method makes the first ones on a stand-in for the model."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from craft_zoo.blackbox import (
    DEFAULT_INIT,
    VLM,
    Asked,
    BlackBox,
    ImageSet,
    Meter,
    Progress,
    Prompts,
    Usage,
)
from craft_zoo.blackbox.image_tokens import Embeddings
from craft_zoo.blackbox.templates import as_template, words_before
from craft_zoo.craft import CraftConfig
from craft_zoo.craft.config import MOST
from craft_zoo.data import ImageSource
from craft_zoo.data.images import open_image
from craft_zoo.errors import CraftZooError, PromptError
from craft_zoo.files import HashedPath
from craft_zoo.local_features import check_features
from craft_zoo.methods import (
    Problem,
    find_method,
    get_method,
    is_white_box,
    most_queries,
    own_settings,
    starting_template,
)
from craft_zoo.methods.altered_images import AlteredImages
from craft_zoo.optimizers import OptimizerError
from craft_zoo.solution import Solution

_CLASSES, _SHOTS, _SIDE = 10, 4, 32  # of the small task; the first two are maxima
_WIDTH = 4  # of a context's token
_GENERATIONS, _QUERIES = 7, 250  # after either, further generations are extrapolated


@dataclass(frozen=True)
class Rehearsed:
    """Queries of a run, extrapolated from its first generations.

    Attributes:
        steps: total number of queries after each step.
        deployed: the query in words that scores a deployed image on its anchors; empty if there is
            none.
        asked: queries in words of the rehearsed steps, about the training images.
        queries: number of queries in the rehearsed steps.
        encoded: how many times the model encodes the images of a query during the run, because
            the method alters them.
        alters: whether the solution alters the images that it classifies.
    """

    steps: list[int]
    deployed: list[Asked]
    asked: list[Asked]
    queries: int
    encoded: float = 0
    alters: bool = False


def rehearsed_size(n_classes: int, shots: int) -> tuple[int, int]:
    """Classes and shots of the task that :func:`rehearse` uses instead of one of that size."""
    return min(n_classes, _CLASSES), min(shots, _SHOTS)


def describes_classes(method: str, config: CraftConfig) -> bool:
    """Whether a file of the method's settings has texts for each class."""
    return any(
        isinstance(each, HashedPath) and each for each in own_settings(method, config).values()
    )


def rehearse(
    method: str,
    optimizer: str,
    config: CraftConfig,
    *,
    budget: int,
    n_classes: int,
    shots: int,
    seed: int = 1,
    name: str = "",
    on_service: bool = False,
    vlm: VLM | None = None,
    classnames: Sequence[str] = (),
) -> Rehearsed:
    """Run the method's own code for its first generations, on a small task.

    Later generations are assumed to be as large as the smallest of these. A method that fails on
    the stand-in is assumed to make one query at a time.

    Args:
        method: name of the method.
        optimizer: spec of the optimizer.
        config: settings of the method.
        budget: in queries.
        n_classes: number of classes of the data set.
        shots: training images a class.
        seed: of the run.
        name: name of the data set, see :attr:`Problem.name`.
        on_service: whether the model is a service that is asked in words, not with contexts.
        vlm: the model, if it is on this machine; it is not queried.
        classnames: class names of the data set, for a method with texts of its own for each; ():
            invented ones.

    Raises:
        PromptError: the model does not accept the prompts of the method.
    """
    most, whole = most_queries(method, config, budget, n_classes), n_classes
    if is_white_box(method):
        return Rehearsed([0, most], deployed=[], asked=[], queries=most)
    n_classes, shots = rehearsed_size(n_classes, shots)
    config, budget = _scaled(method, config, budget, whole, n_classes)
    accepts = frozenset({"texts"} if on_service else {"contexts", "texts"})
    stand_in = _StandInVLM(accepts, None if vlm is None else vlm.embeddings())
    names = classnames[:n_classes] or [f"thing {place}" for place in range(n_classes)]
    problem = _problem(
        *(stand_in, method, optimizer, config, names),
        budget=budget,
        shots=shots,
        seed=seed,
        name=name,
    )
    began = _begin(method, problem)
    steps, solution = began.steps, began.solution
    encoded = float(len(stand_in.encoded))
    if not began.ended:
        latest_gap = isinstance(solution, AlteredImages)
        steps = [*steps, *_later_steps(steps, most, latest_gap=latest_gap)]
        if later := [before for before in stand_in.encoded if before]:
            encoded += len(later) * (most / later[-1] - 1)
    images = problem.images
    alters = isinstance(solution, AlteredImages) and solution.alter(images) is not images
    deployed, asked = began.deployed, stand_in.asked
    if describes_classes(method, config):  # as many texts for each of the other classes
        deployed, asked = (_for_classes(each, whole / n_classes) for each in (deployed, asked))
    return Rehearsed(steps, deployed, asked, began.steps[-1], encoded, alters)


def check_start(
    method: str,
    optimizer: str,
    config: CraftConfig,
    *,
    budget: int,
    classnames: Sequence[str],
    name: str = "",
    accepts: Collection[str] = ("contexts", "texts"),
) -> None:
    """Check that the method begins, with its own code up to its first query.

    Args:
        method: name of the method; white-box ones are not checked.
        optimizer: spec of the optimizer.
        config: settings of the method.
        budget: in queries.
        classnames: C class names.
        name: name of the data set, see :attr:`Problem.name`.
        accepts: see :attr:`BlackBox.accepts`.

    Raises:
        CraftZooError: the method refuses its settings or the model's kind of prompts.
        OptimizerError: so does its optimizer, for instance as the budget is below a generation.
    """
    if is_white_box(method):
        return
    stand_in = _StandInVLM(frozenset(accepts), None, answers=False)
    about = method, optimizer, _cheap(method, config), classnames
    problem = _problem(stand_in, *about, budget=budget, shots=1, seed=1, name=name)
    with suppress(_FirstQuery):
        for _ in get_method(method)(problem):
            pass


def _problem(
    stand_in: _StandInVLM,
    method: str,
    optimizer: str,
    config: CraftConfig,
    names: Sequence[str],
    *,
    budget: int,
    shots: int,
    seed: int,
    name: str,
) -> Problem:
    """A problem of a stand-in with ``shots`` images of one colour for each class name."""
    labels = np.repeat(np.arange(len(names)), shots)
    pixels = [np.full((_SIDE, _SIDE, 3), label % 256, np.uint8) for label in labels]
    images = ImageSet(pixels, stand_in)
    prompt = starting_template(config, None, method)
    stand_in.meter = Meter(budget, len(names))
    return Problem(
        vlm=stand_in,
        box=stand_in.classifier(names, prompt if words_before(prompt) else DEFAULT_INIT),
        images=images,
        labels=labels,
        meter=stand_in.meter,
        budget=budget,
        seed=seed,
        optimizer=optimizer,
        config=config,
        views=[images] * config.views,
        name=name,
        template=prompt,
    )


def _scaled(
    method: str, config: CraftConfig, budget: int, whole: int, n_classes: int
) -> tuple[CraftConfig, int]:
    """Settings and budget with which a task of fewer classes takes as many queries.

    Searches report as often as they can, since each report may be measured: the refiner makes no
    queries for the deployed prompt, as in a run whose candidates include it.

    Args:
        method: name of the method.
        config: its settings on all classes.
        budget: in queries.
        whole: number of all classes.
        n_classes: that of the small task.
    """
    about = find_method(method)
    if "anchors" in about.settings and not about.uses_optimizer:
        # As many texts as the budget allows take more queries on fewer classes.
        budget = 1 + -(-(budget - 1) * whole // n_classes)
    elif "anchors" in about.settings:  # no more queries for anchors, which the search would lack
        config = replace(config, anchors=max(1, config.anchors * n_classes // whole))
    if about.uses_optimizer:
        config = replace(config, refit_queries=MOST)
    if config.per_image:  # as many anchors on fewer classes
        config = replace(config, per_image=1 + (config.per_image - 1) * whole / n_classes)
    return _cheap(method, config), budget


def _cheap(method: str, config: CraftConfig) -> CraftConfig:
    """Settings with which a method makes the same queries and computes less beside them."""
    if config.local:  # local features need no query
        check_features(config.local)
        config = replace(config, local="")
    # One image is as good as a batch, and so are features that need no weights to be downloaded.
    cheap = {f"{method}.batch": 1, f"{method}.encoder": "colours"}
    cheap = {name: cheap[name] for name in cheap.keys() & own_settings(method, config).keys()}
    return replace(config, own=tuple((dict(config.own) | cheap).items()))


class _Beginning(NamedTuple):
    """The first generations of a run.

    Attributes:
        steps: total number of queries after each step.
        solution: that of the last step; None if there is none.
        deployed: see :class:`Rehearsed`.
        ended: whether the run has no further queries.
    """

    steps: list[int]
    solution: Solution | None
    deployed: list[Asked]
    ended: bool


def _begin(method: str, problem: Problem) -> _Beginning:
    """Run a method until its generations can be extrapolated.

    Raises:
        PromptError: the model does not accept the prompts of the method.
    """
    steps, deployed, ended = [0], list[Asked](), True
    found: Solution | None = None
    try:
        for step in get_method(method)(problem):
            found = step.solution
            steps.append(problem.meter.queries)
            if (own := found.anchors) and not isinstance(own.prompts, np.ndarray):
                deployed = [Asked(tuple(own.prompts), own.texts)]
            ended = step.ended is None
            generations = len(set(steps)) - 1
            if generations >= _GENERATIONS or (
                generations > 1 and problem.meter.queries > _QUERIES
            ):
                ended = problem.meter.remaining == 0
                break
    except PromptError as error:
        raise PromptError(f"{method}: {error}") from None
    except (CraftZooError, OptimizerError):
        steps, ended = [0, 1], False
    return _Beginning(steps, found, deployed, ended)


def _later_steps(steps: Sequence[int], queries: int, *, latest_gap: bool) -> list[int]:
    """Total number of queries after each step that follows.

    Args:
        steps: those after the first steps.
        queries: those of the whole run.
        latest_gap: whether later generations are as large as the last one, rather than as the
            smallest. Methods that alter images report the first, and then some 20 times in all.
    """
    seen = sorted(set(steps))
    # The first generation may be a large one, and the refiner's first query one alone.
    gaps = [after - before for before, after in pairwise(seen[-4:])]
    gap = gaps[-1] if latest_gap else min(gaps)
    return [*range(seen[-1] + gap, queries, gap), queries]


def _for_classes(asked: list[Asked], factor: float) -> list[Asked]:
    """Queries with ``factor`` times as many texts, all different."""
    return [
        one._replace(
            texts=tuple(
                one.texts[place % len(one.texts)] + " " * (place // len(one.texts))
                for place in range(math.ceil(len(one.texts) * factor))
            )
        )
        if one.texts
        else one
        for one in asked
    ]


def expected_usage(
    vlm: VLM,
    rehearsed: Rehearsed,
    images: Sequence[ImageSource],
    classnames: Sequence[str],
    init: str = DEFAULT_INIT,
) -> Usage:
    """Estimate of what a service bills for the queries of a run.

    Args:
        vlm: the service.
        rehearsed: the run.
        images: the training images.
        classnames: C class names.
        init: initial prompt, see :meth:`VLM.classifier`.
    """
    asked, more = list(rehearsed.asked), rehearsed.steps[-1] - rehearsed.queries
    if more > 0 and asked:
        last = asked[-1]
        asked[-1] = last._replace(times=1 + -(-more // len(last.prompts)))
    return vlm.expected_usage(asked, images, classnames, init) if asked else Usage()


class _FirstQuery(Exception):  # noqa: N818, an expected condition rather than an error
    """A stand-in that does not answer was asked."""


class _StandIn(BlackBox):
    """A classifier with random logits, linear in a context and the first image's brightness.

    A prompt has the same logits each time, as optimizers check whether losses are noisy.
    """

    def __init__(
        self, owner: _StandInVLM, names: Sequence[str], init: str, *, is_independent: bool
    ) -> None:
        self.accepts, self._owner = owner.accepts, owner
        self.classnames, self.template = tuple(names), as_template(init)
        tokens = len(words_before(self.template).split())
        self.initial_context = np.ones((max(1, tokens), _WIDTH), np.float32)
        self._texts = self.classnames if is_independent else None

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        self._owner.check_answers()
        if not isinstance(prompts, np.ndarray):
            self._owner.asked.append(Asked(tuple(prompts), self._texts))
        shape, context = (len(images), len(self.classnames)), self.initial_context.shape
        rng = np.random.default_rng(0)
        brightness = np.asarray(open_image(images.sources[0])).mean() / 255
        start = (1 + brightness) * rng.standard_normal(shape)
        weights = rng.standard_normal((*shape, *context))
        for prompt in prompts:
            if isinstance(prompt, np.ndarray):
                own = np.broadcast_to(prompt, (shape[1], *context))
                logits = start + np.einsum("ncij,cij->nc", weights, own)
            else:
                seed = zlib.crc32(repr(prompt).encode())
                logits = np.random.default_rng(seed).standard_normal(shape)
            yield logits.astype(np.float32)


class _StandInVLM(VLM):
    """Records the queries in words, and the number of queries before images were passed to it."""

    name, image_size, sells_vectors = "the model", _SIDE, True
    meter = Meter()

    def __init__(
        self, accepts: frozenset[str], embeddings: Embeddings | None, *, answers: bool = True
    ) -> None:
        self.accepts, self._embeddings, self._answers = accepts, embeddings, answers
        self.asked, self.encoded = list[Asked](), list[int]()

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        self.encoded.append(self.meter.queries)
        return ImageSet(images, self)

    def embeddings(self) -> Embeddings | None:
        return self._embeddings

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return _StandIn(self, classnames, init, is_independent=False)

    def check_answers(self) -> None:
        """End the method at its first query if the stand-in does not answer."""
        if not self._answers:
            raise _FirstQuery

    def features(self, images: ImageSet) -> np.ndarray:
        self.check_answers()
        self.asked.append(Asked((DEFAULT_INIT,)))  # bills the images at least
        return np.random.default_rng(0).standard_normal((len(images), _SIDE))

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        self.check_answers()
        return np.random.default_rng(1).standard_normal((len(texts), _SIDE))

    def feature_lengths(self, images: ImageSet) -> np.ndarray:
        return np.ones(len(images), np.float32)

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return _StandIn(self, texts, init, is_independent=True)

    def remembered(self, make: Callable[[], str], example: str) -> str:
        self.check_answers()
        return example
