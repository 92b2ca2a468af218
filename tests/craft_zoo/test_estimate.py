"""Estimates of an adapter's accuracy, on images that it was not fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.blackbox import (
    DEFAULT_INIT,
    VLM,
    BlackBox,
    ImageSet,
    Prompts,
    RememberingVLM,
    WrappedBlackBox,
)
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Dataset, LabelledImages, Task, few_shot, load_dataset
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.estimate import choose_estimate, cross_validate
from craft_zoo.evaluation import evaluate
from craft_zoo.metrics import interval
from craft_zoo.openclip import OpenCLIP


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


class Counting(WrappedBlackBox):
    """Counts the (prompt, image) pairs of queries."""

    asked = 0

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        Counting.asked += len(prompts) * len(images)
        return self._box.logits(prompts, images)


class CountingVLM(RememberingVLM):
    """A model behind the counter, without a cache."""

    def images(self, images: Sequence, progress=None, *, keep: bool = True) -> ImageSet:
        return self._vlm.images(images, progress, keep=keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        return Counting(self._vlm.classifier(classnames, init))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture
def counted(vlm: OpenCLIP) -> VLM:
    Counting.asked = 0
    return CountingVLM(vlm)


def test_unused_images_are_those_that_were_not_drawn(digits: Dataset) -> None:
    task = few_shot(digits, 4, seed=1)
    assert task.unused is not None
    drawn = {id(image) for image in task.train.images}
    assert len(task.unused) == len(digits.train) - len(task.train)
    assert not drawn & {id(image) for image in task.unused.images}


def test_validation_images_are_among_the_unused(digits: Dataset) -> None:
    val = digits.test.take(np.arange(30))
    task = few_shot(replace(digits, val=val), 4, seed=1)
    assert task.unused is not None
    assert len(task.unused) == len(digits.train) - len(task.train) + 30


@pytest.mark.slow
@pytest.mark.parametrize("method", ["zero-shot", "refine", "anchors"])
def test_methods_that_search_nothing_are_cross_validated_for_nothing(
    counted: VLM, digits: Dataset, method: str
) -> None:
    task = few_shot(digits, 4, seed=1)
    remembering = RememberingVLM(counted)
    plain = cz.tune(counted, task, method=method, budget=30)
    Counting.asked = 0
    tuned = cz.tune(remembering, task, method=method, budget=30)
    once = Counting.asked
    total = reduce(add, cross_validate(remembering, task, method=method, budget=30))
    assert len(total) == len(task.train)
    # Zero-shot asks nothing in tuning, and once about each shot when it is judged.
    assert Counting.asked - once == (len(task.train) if method == "zero-shot" else 0)
    same = tuned.adapter.predict(remembering, digits.test.images[:20])
    np.testing.assert_array_equal(same, plain.adapter.predict(counted, digits.test.images[:20]))


def test_cross_validation_judges_images_that_were_not_fitted_to(
    vlm: OpenCLIP, digits: Dataset
) -> None:
    """Of labels without meaning, nothing can be learnt: the estimate is chance, not 100 %."""
    task = few_shot(digits, 16, seed=1)
    labels = np.random.default_rng(0).permutation(task.train.labels)
    shuffled = replace(task, train=LabelledImages(task.train.images, labels))
    tuned = cz.tune(vlm, shuffled, method="refine", budget=1)
    fitted = evaluate(tuned.adapter, vlm, shuffled.train)
    held_out = reduce(add, cross_validate(vlm, shuffled, method="refine", budget=1))
    assert fitted.accuracy > 1.5 * held_out.accuracy
    assert held_out.interval[0] < 0.1


def test_one_shot_cannot_be_cross_validated(vlm: OpenCLIP, digits: Dataset) -> None:
    with pytest.raises(CraftZooError, match="two shots"):
        next(cross_validate(vlm, few_shot(digits, 1, seed=1), method="refine", budget=1))


def choice_of(task: Task, method: str, budget: int = 8000, **more: bool) -> tuple[str, int]:
    choice = choose_estimate(task, method, CraftConfig(), budget, seed=1, **{"bills": False} | more)
    return choice.kind, choice.predictions


def test_choice(digits: Dataset) -> None:
    task = few_shot(digits, 4, seed=1)
    alone = replace(task, unused=None)
    assert choice_of(task, "refine") == ("shots", 0)
    assert choice_of(task, "anchors") == ("shots", 0)
    assert choice_of(task, "craft") == ("outside", 400)
    assert choice_of(alone, "craft") == ("refine", 40)
    assert choice_of(alone, "craft", budget=5) == ("refine", 40)
    assert choice_of(alone, "craft", budget=100, whole=True) == ("whole", 3 * 100 * 40 + 80)
    assert choice_of(few_shot(digits, 1, seed=1), "refine")[0] == "outside"
    assert choice_of(replace(few_shot(digits, 1, seed=1), unused=None), "refine") == ("none", 0)


@pytest.mark.parametrize(("method", "budget"), [("refine", 1), ("craft", 5)])
def test_an_image_that_is_never_held_out_is_billed_in_every_fold(
    vlm: OpenCLIP, digits: Dataset, method: str, budget: int
) -> None:
    task = few_shot(digits, 2, seed=1)
    single = np.flatnonzero(task.train.labels == 0)[1:]
    task = replace(task, train=task.train.take(np.setdiff1d(np.arange(20), single)))
    kind, predictions = choice_of(task, method, budget, whole=True)
    assert kind == "whole"
    Counting.asked = 0
    config = CraftConfig(discriminant=False)
    held = cross_validate(CountingVLM(vlm), task, method=method, budget=budget, config=config)
    assert len(reduce(add, held)) == 18
    assert Counting.asked == predictions == 20 * budget + 2 * 18


def test_a_template_without_words_before_the_name_is_asked_once(
    vlm: OpenCLIP, digits: Dataset
) -> None:
    """The adapter's initial prompt is spelled otherwise than the one that tuning opened."""
    task = replace(few_shot(digits, 2, seed=1), unused=None)
    config = CraftConfig(discriminant=False, template="{} in a photo.")
    arguments = {"method": "refine", "budget": 1, "config": config}
    remembering = RememberingVLM(CountingVLM(vlm))
    Counting.asked = 0
    cz.tune(remembering, task, **arguments)
    assert Counting.asked == 20
    list(cross_validate(remembering, task, **arguments))
    choice = choose_estimate(task, "refine", config, 1, seed=1, bills=True)
    assert Counting.asked - 20 == choice.predictions == 20  # zero-shot, under a context


def test_copies_are_neither_held_out_nor_measured_on(vlm: OpenCLIP, digits: Dataset) -> None:
    """Copies of every image in the folds beside it promised 100 % on new images."""
    task = few_shot(digits, 2, seed=1)
    assert task.unused is not None
    doubled = replace(task, train=task.train + LabelledImages(task.train.images, task.train.labels))
    quick = {"method": "refine", "budget": 1, "config": CraftConfig(discriminant=False)}
    found = reduce(add, cross_validate(vlm, doubled, **quick))
    once = reduce(add, cross_validate(vlm, task, **quick))
    assert found.accuracy == once.accuracy < 0.8
    with pytest.warns(CraftZooWarning, match="20 of 40 training images .* of the same class"):
        tuned = cz.tune(vlm, doubled, method="refine", budget=1, config=quick["config"])
    assert tuned.meter.predictions["search"] == 20
    some = task.unused.take(np.arange(30))
    images = replace(task, unused=some + task.train)
    choice = choose_estimate(images, "craft", CraftConfig(), 500, seed=1, bills=False)
    assert sorted(map(id, choice.images.images)) == sorted(map(id, some.images))
    assert choice.words == "measured on 30 labelled images outside the 20 training images"


def test_images_outside_of_few_classes_are_not_measured_on(digits: Dataset) -> None:
    """As where small classes have all their images among the shots."""
    task = few_shot(digits, 4, seed=1)
    assert task.unused is not None
    for classes, kind in ((1, "refine"), (4, "refine"), (5, "outside"), (10, "outside")):
        some = task.unused.take(np.flatnonzero(task.unused.labels < classes))
        choice = choose_estimate(
            replace(task, unused=some), "craft", CraftConfig(), 500, seed=1, bills=False
        )
        assert choice.kind == kind
        assert ("of 5 of 10 classes outside" in choice.words) == (classes == 5)


def test_measuring_outside_costs_a_tenth_of_a_bill_at_most(digits: Dataset) -> None:
    task = few_shot(digits, 4, seed=1)
    for budget in (1, 10, 50, 100, 500):
        kind, predictions = choice_of(task, "craft", budget, bills=True)
        assert kind == "refine" or predictions <= budget * 40 / 10


def test_interval_is_wilsons() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263 and 15/148, method 3.
    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert interval(0, 0) == (0, 1)
