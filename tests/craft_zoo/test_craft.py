"""The collaborative loop: what it keeps in memory, without effect on results."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from craft_zoo.blackbox import Meter
from craft_zoo.craft import CraftConfig, Step, collaborate
from craft_zoo.craft.network_objective import NetworkObjective
from craft_zoo.data import Task
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers import Optimizer, create
from craft_zoo.optimizers.base import Outputs
from craft_zoo.prompts import Subspace
from craft_zoo.refiner.network import Refiner

CONFIG = CraftConfig(refiner="network", intrinsic_dim=8, hidden=16, epoch_queries=10)


def run(vlm: OpenCLIP, task: Task, optimizer: Optimizer | None = None) -> list[Step]:
    box, meter = vlm.classifier(task.classnames), Meter(40)
    return list(
        collaborate(
            box,
            vlm.images(task.train.images),
            meter=meter,
            optimizer=optimizer or create("cma:popsize=10", 8, budget=40, seed=1),
            space=Subspace.relative(box.initial_context, 8, scale=3.0, seed=1),
            objective=NetworkObjective(
                box,
                task.train.labels,
                meter=meter,
                refiner=Refiner(len(task.classnames), 16),
                config=CONFIG,
                seed=1,
            ),
            seed=1,
        )
    )


def test_losses_block_by_block_are_the_same(
    tiny_vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tiny_vlm, small_task)
    for block_bytes in (1, 3000, 10**9):
        monkeypatch.setattr("craft_zoo.craft.loop._BLOCK_BYTES", block_bytes)
        steps = run(tiny_vlm, small_task)
        assert [step.queries for step in steps] == [0, 10, 20, 30, 40]
        for step, other in zip(steps[1:], expected[1:], strict=True):
            assert step.loss == pytest.approx(other.loss, rel=1e-4)
            assert step.train_accuracy == pytest.approx(other.train_accuracy, abs=0.11)


def test_the_refiner_learns_from_the_better_answers_within_its_memory(
    tiny_vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for one answer, that of the best context is the whole lesson."""
    lessons: list[np.ndarray] = []
    monkeypatch.setattr(
        "craft_zoo.craft.network_objective.RefinerTrainer.epoch",
        lambda self, logits, labels, consistency: lessons.append(logits.numpy()),
    )
    answers: list[np.ndarray] = []
    losses: list[float] = []

    class Recording(_Fixed):
        learns_from_outputs: ClassVar[bool] = True

        def _tell(self, candidates: np.ndarray, told: np.ndarray, outputs: Outputs) -> None:
            assert outputs is not None
            answers.extend(outputs)
            losses.extend(told)

    def search() -> Optimizer:
        return Recording(8, budget=40, seed=1)

    run(tiny_vlm, small_task, search())
    assert len(lessons) == 4
    better = np.argsort(losses[:10])[:5]
    rows = [
        {number for number in range(10) if np.array_equal(answers[number][row], lesson_row)}
        for row, lesson_row in enumerate(lessons[0])
    ]
    assert set.union(*rows) <= set(better.tolist())
    assert len(set.union(*rows)) > 2

    lessons.clear()
    monkeypatch.setattr("craft_zoo.craft.network_objective._REPLAY_BYTES", answers[0].nbytes)
    run(tiny_vlm, small_task, search())
    assert np.array_equal(lessons[0], answers[better[0]])


class _Fixed(Optimizer):
    """Ten random candidates per generation, independent of the losses."""

    def _ask(self) -> np.ndarray:
        return self.rng.standard_normal((10, self.dim))

    def recommend(self) -> np.ndarray:
        return np.zeros(self.dim)


def test_outputs_are_kept_only_for_those_who_learn_from_them(
    tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    told: list[Outputs] = []

    class Deaf(_Fixed):
        def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
            told.append(outputs)

    run(tiny_vlm, small_task, Deaf(8, budget=40, seed=1))
    assert told == [None] * 4
