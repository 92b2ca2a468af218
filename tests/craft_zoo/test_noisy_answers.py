"""A search against a model whose answers to the same context differ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts
from craft_zoo.blackbox.wrappers import WrappedBlackBox
from craft_zoo.data import Task
from craft_zoo.methods import Problem, get_method
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers.logit_gn import LogitGN


class Noisy(WrappedBlackBox):
    """Adds normal noise to every logit."""

    def __init__(self, box: BlackBox, deviation: float) -> None:
        super().__init__(box)
        self.deviation, self.rng = deviation, np.random.default_rng(1)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        for answer in self._box.logits(prompts, images):
            noise = self.deviation * self.rng.standard_normal(answer.shape)
            yield (answer + noise).astype(np.float32)


@pytest.mark.parametrize("deviation", [0.0, 0.1])
def test_the_noise_is_known_after_one_generation_at_no_query(
    tiny_vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch, deviation: float
) -> None:
    found: list[float] = []
    compare = LogitGN._compare_outputs

    def record(self: LogitGN, before: np.ndarray, after: np.ndarray) -> None:
        compare(self, before, after)
        found.append(self._noise[-1])

    monkeypatch.setattr(LogitGN, "_compare_outputs", record)
    problem = Problem.open(tiny_vlm, small_task.classnames, small_task.train, budget=61, seed=1)
    problem.box = Noisy(problem.box, deviation)
    steps = list(get_method("craft")(problem))
    assert [step.queries for step in steps] == [0, 1, 21, 41, 61]
    assert np.sqrt(found) == pytest.approx([deviation], rel=0.2)
