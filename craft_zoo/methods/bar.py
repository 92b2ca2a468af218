"""BAR: one frame of colours around every image, by one-sided estimates of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax

from craft_zoo.blackbox.base import ImageSet
from craft_zoo.craft import DATASET_TEMPLATE, Step
from craft_zoo.data.float_image import FloatImage
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.batches import batch_options, training_batches
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import generator

_INNER = 64 / 224  # side of the image in the frame, as a share
_DECAYING, _POWER = 0.9, 0.9  # share of the steps in which the learning rate falls; its exponent

LEARNING_RATES = {
    "oxford_flowers": (5.0, 0.1),
    "food101": (5.0, 0.1),
    "sun397": (5.0, 0.01),
    "dtd": (5.0, 0.1),
    "svhn": (5.0, 0.1),
    "eurosat": (5.0, 0.01),
    "resisc45": (5.0, 0.01),
    "ucf101": (5.0, 0.01),
}
"""First and last learning rate by data set, where they are not 10 and 0.1."""

OPTIONS = (
    Option("inner", int | None, None, "side of the image in the frame, in pixels; none: 2/7"),
    Option("directions", int, 5, "directions that a gradient is averaged over"),
    Option("distance", float, 0.01, "distance of a candidate, in the units of the program"),
    Option("lr", float | None, None, "first learning rate; none: by data set"),
    Option("last_lr", float | None, None, "last learning rate; none: by data set"),
    Option("gamma", float, 2.0, "exponent of the focal loss; 0: cross-entropy"),
    *batch_options(128),
)

Losses = Callable[[np.ndarray], float]
"""(d,) parameters → loss."""


@dataclass(frozen=True)
class Program:
    """A frame of colours, the sigmoid of its parameters, around an image in the centre.

    Attributes:
        size: side of the framed image, in pixels.
        inner: side of the image in it.
    """

    size: int
    inner: int

    @property
    def n_parameters(self) -> int:
        """One for each pixel and channel; those that the image covers have no effect."""
        return 3 * self.size**2

    def __call__(self, sources: Sequence[ImageSource], parameters: np.ndarray) -> list[FloatImage]:
        """The framed images.

        Args:
            sources: N images, of which the central squares are taken.
            parameters: (n_parameters,).
        """
        from craft_zoo.prompts.visual import square_pixels

        colours = expit(parameters.reshape(3, self.size, self.size)).transpose(1, 2, 0)
        framed = np.repeat(colours.astype(np.float32)[None], len(sources), axis=0)
        first = self.size // 2 - self.inner // 2
        place = slice(first, first + self.inner)
        pixels = square_pixels(sources, self.inner).permute(0, 2, 3, 1)
        framed[:, place, place] = pixels.numpy() / np.float32(255)
        return [FloatImage(each) for each in framed]


@dataclass(kw_only=True)
class Framed(AlteredImages):
    """A program around the images.

    Attributes:
        program: frame and places.
        parameters: of the program.
    """

    program: Program
    parameters: np.ndarray

    def alter(self, images: ImageSet) -> ImageSet:
        """The framed images."""
        framed = self.program(images.sources, self.parameters)
        return self.vlm.images(framed, keep=False)


@register_method(
    "bar",
    uses_optimizer=False,
    settings=(),
    own=OPTIONS,
    deployable=False,
    start=DATASET_TEMPLATE,
    uses_torch=True,
)
def bar(problem: Problem) -> Iterator[Step]:
    """A frame of colours around every image, by one-sided estimates (BAR, Tsai et al. 2020).

    As in BlackVIP's code, which implements it for CLIP: the image is resized to 64 of 224 pixels,
    and the text prompts take the place of a mapping between labels. A query scores one program on
    one batch of augmented training images. Each query encodes them anew.
    """
    own = problem.own_of("bar")
    problem.check_positive("bar.directions", "bar.batch")
    queries = 1 + own("directions")
    problem.check_budget(queries, "a step of bar", "bar.directions")
    vlm, meter, box = problem.vlm, problem.meter, problem.box
    size = vlm.image_size
    inner = 2 * round(_INNER * size / 2) if own("inner") is None else own("inner")
    if not 1 <= inner <= size:
        raise CraftZooError(f"setting bar.inner must be from 1 to {size}, not {inner}")
    program = Program(size, inner)
    first, last = LEARNING_RATES.get(problem.name, (10.0, 0.1))
    first = first if own("lr") is None else own("lr")
    last = last if own("last_lr") is None else own("last_lr")
    rng = generator(problem.seed, "bar")
    drawn = training_batches(problem, "bar", side=inner)
    search = meter.wrap(box, "search")
    parameters = rng.standard_normal(program.n_parameters)
    yield Step(0, _solution(problem, program, parameters))

    def logits(candidate: np.ndarray, sources: Sequence[ImageSource]) -> np.ndarray:
        framed = vlm.images(program(sources, candidate), keep=False)
        return search.score(box.initial_prompt, framed)

    steps, reports = problem.budget // queries, Reports(problem.budget)
    for number in range(1, steps + 1):
        sources, labels = next(drawn)
        now = logits(parameters, sources)
        at = focal_loss(now, labels, own("gamma"))
        gradient = one_sided(
            lambda each, sources=sources, labels=labels: focal_loss(  # type: ignore[misc]
                logits(each, sources), labels, own("gamma")
            ),
            parameters,
            at,
            own("directions"),
            own("distance"),
            rng,
        )
        parameters = parameters - learning_rate(number, steps, first, last) * gradient
        if reports.due(meter.queries, is_last=number == steps):
            learnt = accuracy(now, labels)
            yield Step(meter.queries, _solution(problem, program, parameters), at, learnt)


def _solution(problem: Problem, program: Program, parameters: np.ndarray) -> Framed:
    prompt = problem.box.initial_prompt
    return Framed(prompt=prompt, vlm=problem.vlm, program=program, parameters=parameters)


def one_sided(
    loss: Losses,
    parameters: np.ndarray,
    at: float,
    directions: int,
    distance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(d,) mean of d (L(w + b u) - L(w)) / b · u over random directions u of length 1.

    Args:
        loss: L.
        parameters: w, (d,).
        at: L(w).
        directions: number of directions, with one query each.
        distance: b.
        rng: source of the directions.
    """
    gradient = np.zeros(len(parameters))
    for _ in range(directions):
        direction = rng.standard_normal(len(parameters))
        direction /= np.linalg.norm(direction)
        slope = (loss(parameters + distance * direction) - at) / distance
        gradient += len(parameters) / directions * slope * direction
    return gradient


def learning_rate(step: int, steps: int, first: float, last: float) -> float:
    """The learning rate of step 1, 2, …: it falls to the last within 90 % of the steps."""
    done = min(step / (_DECAYING * steps), 1.0)
    return (first - last) * (1 - done) ** _POWER + last


def focal_loss(logits: np.ndarray, labels: np.ndarray, gamma: float) -> float:
    """Mean of -(1 - p)^gamma log p, where p is the probability of an image's class.

    Args:
        logits: (N, C).
        labels: (N,) int64.
        gamma: exponent; 0 gives the cross-entropy.
    """
    log_p = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return float((-((1 - np.exp(log_p)) ** gamma) * log_p).mean())
