"""A coarse visual prompt that is added to the images; the text prompts are fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from craft_zoo import optimizers
from craft_zoo.blackbox.base import ImageSet
from craft_zoo.craft import Step
from craft_zoo.losses import mean_losses
from craft_zoo.methods.altered_images import AlteredImages, Reports
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.seeding import derived_seed
from craft_zoo.solution import Solution

if TYPE_CHECKING:
    from craft_zoo.prompts.visual import Coordinator


@dataclass(kw_only=True)
class VisualPrompt(AlteredImages):
    """Visual prompts for images.

    Attributes:
        coordinator: draws an image's prompt.
        parameters: parameters of its decoder.
    """

    coordinator: Coordinator
    parameters: np.ndarray

    def alter(self, images: ImageSet) -> ImageSet:
        """The prompted images."""
        from craft_zoo.prompts.visual import square_pixels

        pixels = square_pixels(images.sources, self.vlm.image_size)
        return self.vlm.images(list(self.coordinator(pixels, self.parameters)), keep=False)


@register_method(
    "visual-prompt", uses_optimizer=False, settings=(), deployable=False, uses_torch=True
)
def visual_prompt(problem: Problem) -> Iterator[Step]:
    """A colour pattern for each image, by craft-zoo's own SPSA-GC; blackvip is the published one.

    Each query passes new prompted images to the model, so it takes as long as encoding them.
    """
    from craft_zoo.prompts.visual import Coordinator, square_pixels

    box, vlm, meter = problem.box, problem.vlm, problem.meter
    yield Step(0, Solution(box.initial_prompt))
    pixels = square_pixels(problem.images.sources, vlm.image_size)
    coordinator = Coordinator.of(pixels)
    optimizer = optimizers.create(
        "spsa-gc",
        coordinator.n_parameters,
        budget=problem.budget,
        seed=derived_seed(problem.seed, "optimizer"),
    )
    search = meter.wrap(box, "search")
    reports = Reports(problem.budget)
    while meter.remaining and not optimizer.stop:
        candidates = optimizer.ask()[: meter.remaining]
        losses, learnt = [], []
        for parameters in candidates:
            prompted = vlm.images(list(coordinator(pixels, parameters)), keep=False)
            logits = search.score(box.initial_prompt, prompted)
            losses.append(float(mean_losses(logits, problem.labels)))
            learnt.append(accuracy(logits, problem.labels))
        optimizer.tell(candidates, np.array(losses))
        if reports.due(meter.queries, is_last=not meter.remaining):
            best = int(np.argmin(losses))
            solution = VisualPrompt(
                prompt=box.initial_prompt,
                vlm=vlm,
                coordinator=coordinator,
                parameters=optimizer.recommend(),
            )
            yield Step(meter.queries, solution, losses[best], learnt[best])
