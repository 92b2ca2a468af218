"""Published baseline methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from craft_zoo.blackbox import ImageSet
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.methods import Problem, get_method
from craft_zoo.methods.visual_prompt import VisualPrompt
from craft_zoo.openclip import OpenCLIP


def problem_of(
    vlm: OpenCLIP, task: Task, budget: int, config: CraftConfig | None = None
) -> Problem:
    return Problem.open(vlm, task.classnames, task.train, budget=budget, seed=1, config=config)


@pytest.mark.parametrize(
    ("name", "optimizer", "dim"),
    [("bbt", "cma:popsize=20", 500), ("spsa-gc", "spsa-gc", 512), ("spsa-clip", "spsa-clip", 512)],
)
def test_prompt_baselines_are_the_prompt_side_with_their_optimizer(
    tiny_vlm: OpenCLIP, small_task: Task, name: str, optimizer: str, dim: int
) -> None:
    theirs = list(get_method(name)(problem_of(tiny_vlm, small_task, 45)))
    problem = problem_of(tiny_vlm, small_task, 45, CraftConfig(intrinsic_dim=dim))
    ours = list(get_method("prompt")(replace(problem, optimizer=optimizer)))
    assert [step.queries for step in theirs] == [step.queries for step in ours]
    for step, twin in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(step.solution.prompt, twin.solution.prompt)
        assert step.solution.refiner is None


def test_a_visual_prompt_keeps_the_texts_and_pays_for_every_altered_image(
    make_tiny: Callable[..., OpenCLIP], tmp_path: Path, small_task: Task
) -> None:
    problem = problem_of(make_tiny(cache=tmp_path), small_task, 30)
    handed = list(tmp_path.rglob("*"))
    sizes = [path.stat().st_size for path in handed]
    first, *steps = get_method("visual-prompt")(problem)
    assert first.queries == 0
    assert problem.meter.queries == steps[-1].queries == 30
    assert problem.meter.predictions["search"] == 30 * 20
    solution = steps[-1].solution
    assert isinstance(solution, VisualPrompt)
    assert not solution.deployable
    np.testing.assert_array_equal(solution.prompt, problem.box.initial_context)
    # nothing of the altered images stays behind
    assert list(tmp_path.rglob("*")) == handed
    assert [path.stat().st_size for path in handed] == sizes
    prompted = solution.logits(problem.box, problem.images)
    plain = problem.box.score(solution.prompt, problem.images)
    assert prompted.shape == plain.shape
    assert not np.allclose(prompted, plain)


def test_a_prompt_of_nothing_changes_nothing(vlm: OpenCLIP, small_task: Task) -> None:
    some = replace(small_task, train=small_task.train.take(np.arange(0, 20, 4)))
    problem = problem_of(vlm, some, 2)
    *_, end = get_method("visual-prompt")(problem)
    assert isinstance(end.solution, VisualPrompt)
    assert end.solution.parameters is not None
    nothing = replace(end.solution, parameters=np.zeros_like(end.solution.parameters))
    images: ImageSet = problem.images
    plain = problem.box.score(problem.box.initial_context, images)
    # digits are squares: resizing them here or in the model is the same but for rounding
    np.testing.assert_allclose(nothing.logits(problem.box, images), plain, atol=0.5)
