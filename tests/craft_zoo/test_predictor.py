"""Logits of solutions, and the predictions that the meter counts for them."""

from __future__ import annotations

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import Meter
from craft_zoo.data import Task
from craft_zoo.methods import Problem, get_method
from craft_zoo.openclip import OpenCLIP
from craft_zoo.predictor import Predictor


def test_anchors_are_asked_for_once_and_counted_as_evaluation(
    vlm: OpenCLIP, small_task: Task
) -> None:
    problem = Problem.open(vlm, small_task.classnames, small_task.train, budget=40, seed=1)
    start, end = (step.solution for step in get_method("anchors")(problem))
    meter = Meter(None, len(small_task.classnames))
    images = vlm.images(small_task.test.images)
    predictor = Predictor(vlm, problem.box, images, meter)
    first = predictor.logits(end)
    anchors = round(len(images) * (end.predictions - 1))
    assert meter.predictions == {"evaluation": len(images) + anchors}
    assert np.array_equal(
        predictor.logits(start), problem.box.score(problem.initial_prompt, images)
    )
    assert np.array_equal(predictor.logits(end), first)
    assert meter.predictions == {"evaluation": 3 * len(images) + anchors}
    raw, beside, local = predictor.ask(end)
    assert local is None
    assert beside is not None
    assert np.array_equal(end.refine(raw, beside), first)
    adapter = Adapter.of(end, vlm, problem.box)
    assert np.array_equal(adapter.ask(vlm, small_task.test.images)[1], beside)
