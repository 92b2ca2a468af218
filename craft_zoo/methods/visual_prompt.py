"""A coarse visual prompt that is added to the images; the text prompts are fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from craft_zoo import optimizers
from craft_zoo.adapter import Solution
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.craft import Step
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.base import Problem, register_method
from craft_zoo.metrics import accuracy
from craft_zoo.prompts import Coordinator, square_pixels
from craft_zoo.seeding import derived_seed

_STEPS = 20  # steps yielded: few, as measuring each requires a prediction of every test image


@dataclass(kw_only=True)
class VisualPrompt(Solution):
    """Visual prompts for images, which no adapter can represent.

    Attributes:
        vlm: the model, to which prompted images are passed.
        coordinator: network that generates the prompts.
        parameters: parameters of its decoder.
    """

    deployable: ClassVar[bool] = False

    vlm: VLM
    coordinator: Coordinator
    parameters: np.ndarray

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the prompted images."""
        pixels = square_pixels(images.sources, self.vlm.image_size)
        prompted = self.vlm.images(list(self.coordinator(pixels, self.parameters)), keep=False)
        return box.score(self.prompt, prompted)


@register_method("visual-prompt", uses_optimizer=False, settings=(), deployable=False)
def visual_prompt(problem: Problem) -> Iterator[Step]:
    """A colour pattern for each image, by craft-zoo's own SPSA-GC; see blackvip for the published.

    Each query passes new prompted images to the model, so it takes as long as encoding them.
    """
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
    labels = torch.from_numpy(problem.labels)
    next_step = 0.0
    while meter.remaining and not optimizer.stop:
        candidates = optimizer.ask()[: meter.remaining]
        losses, learnt = [], []
        for parameters in candidates:
            prompted = vlm.images(list(coordinator(pixels, parameters)), keep=False)
            logits = search.score(box.initial_prompt, prompted)
            losses.append(float(cross_entropy(torch.from_numpy(logits), labels)))
            learnt.append(accuracy(logits, problem.labels))
        optimizer.tell(candidates, np.array(losses))
        if meter.queries >= next_step or not meter.remaining:
            next_step += problem.budget / _STEPS
            best = int(np.argmin(losses))
            solution = VisualPrompt(
                prompt=box.initial_prompt,
                vlm=vlm,
                coordinator=coordinator,
                parameters=optimizer.recommend(),
            )
            yield Step(meter.queries, solution, losses[best], learnt[best])
