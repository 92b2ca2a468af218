"""Settings that methods declare themselves: each counts, wrong values are named."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo import Adapter, tune
from craft_zoo.blackbox import as_template
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.openclip import OpenCLIP

# The budget of a small run of each method, and the settings that make it small.
SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "bar": (12, {}),
    "blackvip-se": (6, {"batch": 4, "pairs": 1}),
    "bpt-vlm-deep": (30, {"dim": 4, "layers": 1}),
    "cbbt": (24, {"directions": 5, "batch": 10}),
    "craft-released": (80, {}),
    "lfa-local": (10, {"iterations": 5, "crops": False, "beta": 0.9}),
    "sharpzo": (60, {"dim": 5, "popsize": 4, "generations": 2, "interval": 3}),
    "zip": (20, {}),
}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "bar": [
        *({"inner": 16}, {"directions": 2}, {"distance": 1.0}, {"lr": 1.0}, {"last_lr": 1.0}),
        *({"gamma": 0.0}, {"batch": 4}, {"augmented": False}),
    ],
    "blackvip-se": [
        *({"pairs": 2}, {"a": 0.1}, {"c": 0.1}, {"gamma": 0.5}, {"momentum": 0.1}),
        *({"strength": 0.5}, {"batch": 5}, {"augmented": False}),
    ],
    "bpt-vlm-deep": [{"dim": 5}, {"image_tokens": 4}],
    "cbbt": [{"directions": 4}, {"lr": 0.1}, {"batch": 5}, {"augmented": False}],
    "craft-released": [
        *({"step": "auto"}, {"deploys": "mean"}, {"scored": "images"}, {"learns": "queries"}),
        *({"features": "normalised"}, {"crop": 0.9}),
    ],
    "lfa-local": [{"iterations": 3}, {"beta": 0.3}, {"beta": None}, {"lr": 0.1}, {"crops": True}],
    "sharpzo": [
        *({"sigma": 1.0}, {"rho": 50.0}, {"generations": 1}, {"distance": 0.1}, {"lr": 0.1}),
        *({"mask": "lowest"}, {"mask": "none"}, {"ratio": 0.5}, {"interval": 2}),
        *({"estimate": "summed"}, {"popsize": 6}, {"dim": 6}),
    ],
    "zip": [{"pairs": 2}, {"a": 0.1}, {"c": 0.1}, {"augmented": False}],
}
TAKES_LONG = {"beta": None}


def config_of(method: str, **changed: Any) -> CraftConfig:
    settings = SMALL[method][1] | changed
    return read_settings({f"{method}.{name}": value for name, value in settings.items()})


def problem_of(vlm: OpenCLIP, task: Task, method: str, **changed: Any) -> Problem:
    return Problem.open(
        vlm,
        task.classnames,
        task.train,
        budget=SMALL[method][0],
        seed=1,
        config=config_of(method, **changed),
        name="eurosat" if method == "craft-released" else "",
        method=method,
    )


@pytest.fixture(scope="module")
def logits(tiny_vlm: OpenCLIP, small_task: Task) -> Callable[..., np.ndarray]:
    """Runs a method; returns the logits of its result."""

    def run(method: str, **changed: Any) -> np.ndarray:
        problem = problem_of(tiny_vlm, small_task, method, **changed)
        *_, end = get_method(method)(problem)
        return end.solution.logits(problem.box, problem.images)

    unchanged = cache(run)
    return lambda method, **changed: run(method, **changed) if changed else unchanged(method)


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        pytest.param(method, changed, marks=[pytest.mark.slow] * (changed == TAKES_LONG))
        for method, changes in CHANGES.items()
        for changed in changes
    ],
)
def test_each_setting_counts(
    method: str, changed: dict[str, Any], logits: Callable[..., np.ndarray]
) -> None:
    assert not np.array_equal(logits(method), logits(method, **changed))


@pytest.mark.parametrize(
    ("method", "changed", "message"),
    [
        ("bar", {"inner": 1000}, "bar.inner must be from 1 to"),
        ("bar", {"directions": 0}, "bar.directions must be at least 1, not 0"),
        ("bar", {"directions": 12}, "a step of bar takes 13 queries, more than the budget of 12"),
        ("blackvip-se", {"batch": 0}, "batch must be at least 1, not 0"),
        ("cbbt", {"directions": 256}, "a step of cbbt takes 257 queries, more than"),
        ("cbbt", {"batch": 0}, "batch must be at least 1, not 0"),
        ("craft-released", {"crop": 2}, r"crop must be in \(0, 1\], not 2.0"),
        ("sharpzo", {"dim": 50}, "generation of sharpzo takes 104 queries, more than the budget"),
        ("sharpzo", {"popsize": 0}, "sharpzo.popsize must be at least 1, not 0"),
        ("sharpzo", {"ratio": 2.0}, r"sharpzo.ratio must be in \[0, 1\], not 2.0"),
        ("zip", {"batch": 0}, "batch must be at least 1, not 0"),
    ],
)
def test_wrong_values_are_named_before_the_first_query(
    method: str, changed: dict[str, Any], message: str, tiny_vlm: OpenCLIP, small_task: Task
) -> None:
    problem = problem_of(tiny_vlm, small_task, method, **changed)
    with pytest.raises(CraftZooError, match=message):
        list(get_method(method)(problem))
    assert problem.meter.queries == 0


@pytest.mark.parametrize(
    ("method", "init"), [("cbbt", "a"), ("sharpzo", "a photo of a"), ("zip", "X X X X X X X X")]
)
def test_their_contexts_are_deployed(
    method: str, init: str, tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    budget, _ = SMALL[method]
    tuned = tune(tiny_vlm, small_task, method=method, budget=budget, config=config_of(method))
    tuned.adapter.save(tmp_path / "a.adapter")
    adapter = Adapter.load(tmp_path / "a.adapter")
    assert adapter.init == as_template(init)
    assert adapter.predict(tiny_vlm, small_task.test.images[:3]).shape == (3, 10)
