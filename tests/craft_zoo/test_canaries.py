"""Canaries: what is kept of a model's answers, and which differences count as another model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from craft_zoo.adapter import Adapter, OtherModelError
from craft_zoo.anchors import Anchors
from craft_zoo.blackbox import BlackBox, ImageSet, Prompts, WrappedBlackBox, WrappedVLM, load_vlm
from craft_zoo.canaries import COUNT, Canaries, Drift, ask_canaries, canary_images, check_drift
from craft_zoo.client import from_callable
from craft_zoo.data import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.solution import Solution

NAMES = ("cat", "dog", "bird")


def shots(count: int = 12) -> LabelledImages:
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 255, (count, 40, 90, 3)).astype(np.uint8))
    return LabelledImages(images, np.arange(count) % 3)


def kept(vlm: OpenCLIP) -> Adapter:
    """An adapter with anchors and canaries."""
    box = vlm.classifier(NAMES)
    anchors = Anchors(("sea", "wood"), ("a photo of a {}.", "a {}"))
    weight = np.random.default_rng(0).standard_normal((3 + 4, 3)).astype(np.float32)
    solution = Solution(
        box.initial_context, ConvexRefiner(weight, np.zeros(3, np.float32)), anchors
    )
    adapter = Adapter.of(solution, vlm, box)
    adapter.canaries = ask_canaries(adapter, vlm, canary_images(shots()))
    return adapter


class Moved(WrappedVLM):
    """A model whose logits have moved by a distance, in directions that alternate."""

    def __init__(self, vlm: OpenCLIP, distance: float) -> None:
        super().__init__(vlm)
        self.distance = distance

    def classifier(self, *arguments: object, **more: object) -> BlackBox:  # type: ignore[override]
        return MovedBox(super().classifier(*arguments, **more), self.distance)  # type: ignore[arg-type]


class MovedBox(WrappedBlackBox):
    def __init__(self, box: BlackBox, distance: float) -> None:
        super().__init__(box)
        self.distance = distance

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        for answer in self._box.logits(prompts, images):
            signs = (-1) ** np.indices(answer.shape).sum(axis=0)
            yield (answer + self.distance * signs).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 7, 8, 30])
def test_copies_are_small_and_of_all_classes(count: int) -> None:
    some = shots(count)
    copies = canary_images(some)
    assert len(copies) == min(count, COUNT)
    assert {copy.shape for copy in copies} == {(64, 64, 3)}
    whole = [Image.fromarray(image).crop((25, 0, 65, 40)).resize((8, 8)) for image in some.images]
    closest = [
        np.argmin(
            [
                np.abs(np.subtract(Image.fromarray(copy).resize((8, 8)), each, dtype=float)).sum()
                for each in whole
            ]
        )
        for copy in copies
    ]
    assert len(set(closest)) == len(copies)
    assert {some.labels[place] for place in closest} == set(some.labels)


def test_canaries_survive_saving_and_an_unchanged_model_is_the_same(
    tiny_vlm: OpenCLIP, tmp_path: Path
) -> None:
    adapter = kept(tiny_vlm)
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(tmp_path / "a")
    assert adapter.canaries is not None
    assert loaded.canaries is not None
    for name in ("images", "logits", "anchors"):
        np.testing.assert_array_equal(
            getattr(loaded.canaries, name), getattr(adapter.canaries, name)
        )
    assert loaded.canaries.images.dtype == np.uint8
    found = check_drift(loaded, tiny_vlm)
    assert not found.changed
    assert (found.differences.max(), found.relabelled) == (0, 0)


@pytest.mark.parametrize(("distance", "changed"), [(1e-4, False), (0.004, False), (0.2, True)])
def test_noise_is_no_change(tiny_vlm: OpenCLIP, distance: float, changed: bool) -> None:
    found = check_drift(kept(tiny_vlm), Moved(tiny_vlm, distance))
    assert found.changed == changed
    assert distance / 2 < found.differences.max() < 2.1 * distance
    assert not check_drift(kept(tiny_vlm), Moved(tiny_vlm, distance), tolerance=1.0).changed


class Prepared:
    """A model that answers about canaries with one table of logits after another."""

    bills, sells_vectors, decimals = True, False, None

    def __init__(self, *tables: np.ndarray) -> None:
        self.tables = list(tables)


def compared(*tables: np.ndarray) -> Drift:
    """Tables (K, C): two when the adapter was tuned, and one now."""

    class Words(Adapter):
        def ask(self, vlm: Any, images: Any, *, keep: bool = True) -> Any:
            return vlm.tables.pop(0), None, None

    vlm: Any = Prepared(*tables)
    adapter = Words(Solution("a {}"), tuple(map(str, range(tables[0].shape[1]))), "prepared", ())
    adapter.canaries = ask_canaries(adapter, vlm, list(np.zeros((len(tables[0]), 2, 2, 3))))
    return check_drift(adapter, vlm)


def labels(*classes: int) -> np.ndarray:
    """Answers of a chat model without log-probabilities, for 3 classes."""
    return np.log((np.eye(3, dtype=np.float32)[list(classes)] + 0.5) / 2.5)


def test_an_unchanged_noisy_model_is_rarely_changed_and_another_one_nearly_always() -> None:
    found = {"same": 0, "another": 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        then = 2 * rng.standard_normal((8, 5))
        models = {"same": then, "another": 2 * rng.standard_normal((8, 5))}
        for name, now in models.items():
            noisy = [table + 0.3 * rng.standard_normal((8, 5)) for table in (then, then, now)]
            drift = compared(*noisy)
            assert drift.noise is not None
            found[name] += drift.changed
    assert found["same"] <= 2
    assert found["another"] >= 98


def test_the_tolerance_is_three_times_the_difference_of_equal_answers() -> None:
    rng = np.random.default_rng(0)
    then = rng.standard_normal((8, 4)).astype(np.float32)
    move = np.zeros((8, 4), np.float32)
    move[2, 1] = 0.008
    for factor, changed in ((2.0, False), (4.0, True)):
        found = compared(then, then + move, then + factor * move)
        assert found.changed == changed
        assert found.noise is None
        assert 0.01 < found.tolerance < 0.024


def test_one_label_of_a_service_without_probabilities_may_flip() -> None:
    then = labels(0, 1, 2, 0, 1, 2, 0, 1)
    assert not compared(then, then, labels(1, 1, 2, 0, 1, 2, 0, 1)).changed
    assert compared(then, then, labels(1, 0, 2, 0, 1, 2, 0, 1)).changed
    shares = 0.99 - 0.01 * np.random.default_rng(0).random((8, 1))
    unrounded = np.log(0.0021234 + shares * np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]])
    one_moved = unrounded.copy()
    one_moved[0] = one_moved[0, [1, 0, 2]]
    assert compared(unrounded, unrounded, one_moved).changed


def test_a_model_without_opinion_does_not_answer_with_labels() -> None:
    then = np.log(np.full((8, 3), 1 / 3))
    now = then.copy()
    now[0] = np.log([0.8, 0.1, 0.1])
    assert compared(then, then, now).changed


def test_a_single_class_is_checked_too() -> None:
    one = np.zeros((8, 1), np.float32)
    assert not compared(one, one, one).changed


def test_few_and_many_noisy_canaries() -> None:
    two, noise = np.array([[2.0, 0, 0], [0, 2, 0]]), 0.1 * np.eye(2, 3)
    assert compared(two, two + noise, two[::-1]).changed
    assert not compared(two, two + noise, two + noise / 2).changed
    many = np.random.default_rng(0).standard_normal((3, 60, 3))
    assert not compared(*many).changed  # 3^60 cases would not fit into memory


def test_anchors_that_are_answered_otherwise_are_a_change(tiny_vlm: OpenCLIP) -> None:
    adapter = kept(tiny_vlm)
    assert adapter.canaries is not None
    assert adapter.canaries.anchors is not None
    turned = np.roll(adapter.canaries.anchors, 1, axis=1)
    adapter.canaries = replace(adapter.canaries, anchors=turned)
    found = check_drift(adapter, tiny_vlm)
    assert found.differences.max() == 0
    assert found.changed == (found.relabelled > 0)


def test_other_weights_are_found_before_anything_is_asked(tiny_vlm: OpenCLIP) -> None:
    adapter = kept(tiny_vlm)
    with pytest.raises(OtherModelError, match="made for tiny"):
        check_drift(adapter, load_vlm("craft-mini"))
    with pytest.raises(CraftZooError, match="no canaries"):
        check_drift(replace(adapter, canaries=None), tiny_vlm)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([3, 4, 5]), st.booleans())
def test_rounded_probabilities_may_differ_in_the_last_decimal(
    seed: int, decimals: int, drifted: bool
) -> None:
    rng = np.random.default_rng(seed)
    answers = rng.dirichlet([0.2] * 3, 8)
    noise = 0.3 * 10.0**-decimals * rng.uniform(-1, 1, answers.shape)
    moved = np.roll(answers, 1, axis=1) if drifted else answers + noise

    def model(given: np.ndarray) -> object:
        return from_callable(
            lambda _, images: given.clip(0, 1).round(decimals)[: len(images)],
            answers="probabilities",
        )

    before, after = model(answers), model(moved)
    adapter = Adapter.of(Solution("a {}"), before, before.classifier(NAMES))
    adapter.canaries = ask_canaries(adapter, before, canary_images(shots()))
    assert isinstance(adapter.canaries, Canaries)
    assert check_drift(adapter, after).changed == drifted
    adapter.decimals = None  # of an earlier version
    assert check_drift(adapter, after).changed == drifted
