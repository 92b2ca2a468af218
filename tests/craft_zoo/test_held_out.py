"""Held-out shots: the decision that they make, and its effect on a search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from craft_zoo.craft import CraftConfig
from craft_zoo.craft.held_out import HeldOut
from craft_zoo.data import Dataset, Task, few_shot
from craft_zoo.methods import Problem, get_method
from craft_zoo.methods.collaborative import convex_objective
from craft_zoo.openclip import OpenCLIP

CONFIG = CraftConfig(intrinsic_dim=32)


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


def logits(targets: Tensor, margin: float) -> Tensor:
    """(n, 5) logits in which the target leads by about ``margin``."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((len(targets), 5)))
    return noise + margin * torch.nn.functional.one_hot(targets, 5)


def heard(*margins: float, n: int = 100, patience: int = 100) -> HeldOut:
    targets = torch.arange(n) % 5
    judge = HeldOut(targets, patience=patience)
    for number, margin in enumerate(margins):
        judge.observe(logits(targets, margin), 50 * number)
    return judge


def test_a_better_context_is_trusted_with_all_shots() -> None:
    assert heard(1.0, 2.0).search_may_use
    assert not heard(1.0, 1.0, 1.0).search_may_use
    assert heard(1.0, 2.0, 0.1).search_may_use, "once and for all"


def test_a_worse_context_is_not_deployed_and_given_up_in_the_end() -> None:
    assert not heard(1.0).worse
    assert heard(1.0, 0.2).worse
    assert not heard(1.0, 0.2, 0.2).given_up
    assert heard(1.0, 0.2, 0.2, 0.2).given_up
    assert not heard(1.0, 0.2, 0.2, 1.0, 0.2).given_up, "patience begins anew"


def test_being_too_sure_is_not_held_against_it() -> None:
    targets = torch.arange(100) % 5
    judge = HeldOut(targets, patience=100)
    judge.observe(logits(targets, 1.0), 1)
    judge.observe(8 * logits(targets, 1.0), 20)
    assert not judge.worse


def test_few_images_or_no_patience_have_no_say() -> None:
    assert heard(n=99).search_may_use
    assert heard(patience=0).search_may_use
    assert not heard(n=100).search_may_use


@pytest.fixture(scope="module")
def task(digits: Dataset) -> Task:
    return few_shot(digits, shots=12, seed=1)


@pytest.fixture
def thirty_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("craft_zoo.craft.held_out._MIN_IMAGES", 30)


@pytest.mark.usefixtures("thirty_are_enough")
def test_the_search_does_not_see_them(vlm: OpenCLIP, task: Task) -> None:
    """30 of the 120 images may be anything; without patience none."""
    for patience, unseen in ((200, 30), (0, 0)):
        config = replace(CONFIG, patience=patience)
        problem = Problem.open(vlm, task.classnames, task.train, budget=9, seed=1, config=config)
        objective = convex_objective(problem)
        answer = objective.begin(
            problem.meter.wrap(problem.box, "search"), problem.images, problem.initial_prompt
        )
        everything = np.arange(120)
        value, slope = objective.output_loss(everything)(answer)
        blind = np.flatnonzero((slope == 0).all(axis=1))
        assert len(blind) == unseen
        assert sorted(problem.labels[blind].tolist()) == sorted(3 * list(range(10)))[:unseen]
        changed = answer.copy()
        changed[blind] += np.random.default_rng(0).standard_normal((unseen, 10))
        assert objective.losses(changed[None])[0] == pytest.approx(value, rel=1e-5)
        assert objective.output_loss(everything)(changed)[0] == pytest.approx(value, rel=1e-5)


@pytest.mark.usefixtures("thirty_are_enough")
def test_a_search_that_they_speak_against_ends_with_the_initial_context(
    vlm: OpenCLIP, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    for belief in ("_PRIOR_MEAN", "_Z_SCORE"):  # so that every search is worse
        monkeypatch.setattr(f"craft_zoo.craft.held_out.{belief}", 1e9)
    problem = Problem.open(vlm, task.classnames, task.train, budget=900, seed=1, config=CONFIG)
    steps = list(get_method("craft")(problem))
    assert steps[-1].ended is not None
    assert "held-out shots" in steps[-1].ended
    assert problem.meter.queries == steps[-1].queries == 1 + 20 + 200
    for step in steps[2:]:
        assert np.array_equal(step.solution.prompt, problem.box.initial_context)
        assert step.solution.refiner is steps[1].solution.refiner
        assert step.deployed_accuracy == steps[1].train_accuracy
