"""Training images that a service refuses to answer about: nothing is learnt from them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import craft_zoo as cz
from craft_zoo.anchors import Anchors, ask_background
from craft_zoo.blackbox import Meter
from craft_zoo.client.decisions import Decisions
from craft_zoo.client.question_vlm import QuestionVLM
from craft_zoo.craft import ConvexObjective, CraftConfig, RefinerFitter
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.solution import Solution

pytest.importorskip("openai")

IMAGES = (1, 6, 13)  # that are refused, of two of each of ten classes


def model_of(service: Any) -> QuestionVLM:
    return QuestionVLM(Decisions("m", f"{service.url}/v1", key="k"))


def tuned(service: Any, task: Task, method: str, **settings: Any) -> Solution:
    model = model_of(service)
    config = CraftConfig(**settings)
    return cz.tune(model, task, method=method, budget=12, config=config).adapter.solution


def without(task: Task, images: Sequence[int]) -> Task:
    return replace(task, train=task.train.take(np.delete(np.arange(len(task.train)), images)))


def refuse(service: Any, task: Task, images: Sequence[int]) -> None:
    """Let the service refuse all that is asked about some of the training images."""
    model = model_of(service)
    box = model.classifier(["cat", "dog"])
    box.score("a {}", model.images(task.train.take(np.array(images)).images))
    service.refused = [body["input"][0]["content"][0]["image_url"] for body in service.bodies]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("refine", {}),
        ("refine", {"discriminant": False, "prior": "train"}),
        ("refine", {"refiner": "network"}),
        ("anchors", {"anchors": 8}),
        ("anchors", {"anchors": 8, "per_image": 1.4}),
        ("anchors", {"anchors": 8, "anchor_bank": "information"}),
        ("anchors", {"anchors": 8, "anchor_bank": "spread"}),
        ("craft-hard", {}),
    ],
)
def test_the_adapter_is_the_one_without_the_refused_images(
    paid_server: Any, small_task: Task, method: str, settings: dict[str, Any]
) -> None:
    refuse(paid_server, small_task, IMAGES)
    found = tuned(paid_server, small_task, method, **settings)
    expected = tuned(paid_server, without(small_task, IMAGES), method, **settings)
    assert found.prompt == expected.prompt
    logits = np.random.default_rng(0).standard_normal((9, 10)).astype(np.float32)
    anchors = None
    if found.anchors is not None:
        assert found.anchors.texts == expected.anchors.texts
        anchors = np.ones((9, len(found.anchors)), np.float32)
    np.testing.assert_array_equal(found.refine(logits, anchors), expected.refine(logits, anchors))


def test_the_estimator_warns_of_new_images_that_are_refused(
    paid_server: Any, small_task: Task
) -> None:
    refuse(paid_server, small_task, (1,))
    model = model_of(paid_server)
    images = list(small_task.train.images)
    classifier = cz.CraftClassifier(model, method="refine")
    classifier.fit(images[2:6], ["cat", "cat", "dog", "dog"])
    said = r"of 1 of 2 images, the first at place 1, all classes .* find them by predict_proba"
    with pytest.warns(CraftZooWarning, match=said):
        assert classifier.predict([images[0], images[1]])[1] == "cat"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(classifier.predict([images[0]])) == 1


def test_a_background_is_the_one_without_the_refused_images(
    paid_server: Any, small_task: Task
) -> None:
    refuse(paid_server, small_task, IMAGES)
    backgrounds = [
        ask_background(model_of(paid_server), images, 4)
        for images in (small_task.train.images, without(small_task, IMAGES).train.images)
    ]
    found, expected = backgrounds
    assert found.images == expected.images == 17
    np.testing.assert_array_equal(found.covariance, expected.covariance)


def test_no_background_is_made_of_refused_images(paid_server: Any, small_task: Task) -> None:
    refuse(paid_server, small_task, (1, 6))
    model = model_of(paid_server)
    images = small_task.train.take(np.array([1, 6, 7])).images
    with pytest.raises(CraftZooError, match=r"refused .* 2 of 3 images, .* needs two: give other"):
        ask_background(model, images, 3)


def test_a_class_of_which_all_images_are_refused_is_named(
    paid_server: Any, small_task: Task
) -> None:
    refuse(paid_server, small_task, (4, 5))
    with pytest.warns(CraftZooWarning, match=r"refused .* all training images of 1 class, .*'two'"):
        found = tuned(paid_server, small_task, "refine")
    logits = np.eye(10, dtype=np.float32)
    assert np.isfinite(found.refine(logits)).all()


class Answers:
    """A model whose only query is the initial prompt."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def score(self, *_: object) -> np.ndarray:
        return self.logits


def begun(first: np.ndarray, later: np.ndarray, **given: Any) -> tuple[ConvexObjective, Any]:
    """An objective after two answers (N, 3), and its refiner."""
    meter = Meter(9, 3)
    fitter = RefinerFitter(classnames="abc", discriminant=True, initial_answer=True, **given)
    objective = ConvexObjective(fitter, meter=meter, refit_queries=1)
    objective.begin(Answers(first), None, "a {}")  # type: ignore[arg-type]
    meter.charge(1, len(first), "search")
    objective.update("a {}", later)
    return objective, objective.solution("a {}").refiner


@pytest.mark.filterwarnings("ignore:the model refused")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    refused=st.lists(st.booleans(), min_size=2, max_size=12).filter(lambda each: not all(each)),
    with_anchors=st.booleans(),
    with_groups=st.booleans(),
)
def test_refused_rows_change_nothing(
    seed: int, refused: list[bool], with_anchors: bool, with_groups: bool
) -> None:
    """Whatever images are refused, and also if another one is refused in a later answer."""
    rng, count = np.random.default_rng(seed), len(refused)
    labels = rng.integers(0, 3, count)
    answered = np.flatnonzero(~np.array(refused))
    rows = np.flatnonzero(~(refused & np.isin(labels, labels[answered])))
    first, later, asked = rng.standard_normal((3, count, 3)).astype(np.float32)
    asked, first[refused], asked[refused] = asked[:, :2], 0, 0
    later[answered[0]] = 0
    given: dict[str, Any] = {"labels": labels}
    if with_groups:
        given["groups"] = rng.choice(["a", "b", "c", ""], count)
    few = {name: values[rows] for name, values in given.items()}
    if with_anchors:
        anchors = {"anchors": Anchors(("x", "y"), ("a {}",))}
        given |= anchors | {"anchor_logits": asked}
        few |= anchors | {"anchor_logits": asked[rows]}
    found, refiner = begun(first, later, **given)
    expected, other = begun(first[rows], later[rows], **few)
    np.testing.assert_array_equal(refiner.weight, other.weight)
    np.testing.assert_array_equal(refiner.bias, other.bias)
    assert np.isfinite(refiner.weight).all()
    candidates = rng.standard_normal((2, count, 3)).astype(np.float32)
    assert found.losses(candidates) == pytest.approx(expected.losses(candidates[:, rows]))


def test_an_image_that_is_refused_later_is_left_out_of_that_fit() -> None:
    labels, answers = np.arange(8) % 2, np.arange(16, dtype=np.float32).reshape(8, 2)
    first, later = answers + 1, answers + 2
    first[3], later[[0, 3]] = 0, 0
    fitter = RefinerFitter(labels=labels, classnames="ab", discriminant=False, initial_answer=False)
    fitter.fit(first)
    of_both = [0, 1, 2, 4, 5, 6, 7, 1, 2, 4, 5, 6, 7]
    for found, whole in zip(
        fitter.learnt(first[fitter.rows], later[fitter.rows]),
        (np.concatenate([first[of_both[:7]], later[of_both[7:]]]), labels[of_both], None),
        strict=True,
    ):
        np.testing.assert_array_equal(found, whole)
    later[::2] = 0  # the whole class
    assert len(fitter.learnt(later[fitter.rows])[0]) == 7
