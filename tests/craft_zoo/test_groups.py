"""Groups of related images, which are held out, split off and measured on together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import craft_zoo as cz
from craft_zoo.blackbox import RememberingVLM
from craft_zoo.cli.main import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import (
    Dataset,
    LabelledImages,
    Task,
    few_shot,
    fingerprint,
    load_dataset,
    part_of,
)
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.estimate import choose_estimate, cross_validate
from craft_zoo.groups import divided, group_numbers, groups_of_classes
from craft_zoo.losses import mean_losses
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import held_out_folds
from craft_zoo.refiner.folds import Splits, calibration_splits, held_out_splits


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of up to 30 images, a fifth of them without a group."""
    n = draw(st.integers(2, 30))
    labels = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    names = st.sampled_from(["", "a", "b", "c", "d", "e", "f", "g"])
    return np.array(labels), np.array(draw(st.lists(names, min_size=n, max_size=n)))


@given(grouped(), st.integers(2, 4))
def test_a_group_is_in_one_part(task: tuple[np.ndarray, np.ndarray], n_parts: int) -> None:
    labels, groups = task
    parts = divided(labels, groups, n_parts)
    assert set(parts.tolist()) <= set(range(n_parts))
    numbers = group_numbers(groups)
    assert len(np.unique(np.stack([numbers, parts]), axis=1)[0]) == len(np.unique(numbers))


@given(grouped())
def test_a_class_of_groups_of_its_own_is_spread_evenly(
    task: tuple[np.ndarray, np.ndarray],
) -> None:
    labels = task[0]
    own = np.array([f"{label}{group}" if group else "" for label, group in zip(*task, strict=True)])
    counts = groups_of_classes(labels, own)
    parts = divided(labels, own, 2)
    for label in np.unique(labels):
        in_parts = np.bincount(parts[labels == label], minlength=2)
        largest = np.bincount(group_numbers(own)[labels == label]).max()
        assert abs(in_parts[0] - in_parts[1]) <= largest
        assert (in_parts.min() > 0) == (counts[label] > 1)


@pytest.mark.parametrize("seed", range(20))
def test_classes_that_share_groups_are_in_both_halves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = np.array([rng.permutation(12)[:4] for _ in range(10)])  # of each of ten classes
    labels, groups = np.repeat(np.arange(10), 8), np.repeat(patients.ravel(), 2).astype(str)
    parts = divided(labels, groups, 2)
    assert [set(parts[labels == label]) for label in range(10)] == [{0, 1}] * 10


@given(grouped())
def test_no_fold_leaves_a_class_without_images(task: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = task
    folds = held_out_folds(labels, groups)
    if folds is None:
        return
    assert set(folds.tolist()) - {-1} == set(range(folds.max() + 1))
    for fold in range(folds.max() + 1):
        assert set(labels[folds != fold]) == set(labels)


@pytest.mark.parametrize("splits_of", [held_out_splits, calibration_splits])
@given(task=grouped())
@example(task=(np.array([0, 0, 1, 1, 1]), np.array(["a", "a", "a", "b", "c"])))
def test_no_image_is_fitted_to_while_another_of_its_group_is_held_out(
    splits_of: Callable[..., Splits | None], task: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, groups = task
    for kept, held in splits_of(labels, groups) or []:
        assert not set(groups[kept]) & set(groups[held]) - {""}
        assert not (kept & held).any()
        assert set(labels[kept]) == set(labels)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30))
def test_images_without_a_group_are_held_out_as_unrelated_ones(labels: list[int]) -> None:
    given, none = np.array(labels), np.full(len(labels), "")
    folds, expected = held_out_folds(given, none), held_out_folds(given)
    assert (folds is None) == (expected is None)
    assert folds is None or expected is None or (folds == expected).all()


def test_labelled_images_keep_their_groups() -> None:
    images = LabelledImages(list("abcd"), np.array([0, 1, 1, 0]), ["x", None, float("nan"), 7])  # type: ignore[arg-type]
    assert images.groups is not None
    assert images.groups.tolist() == ["x", "", "", "7"]
    both = images.take(np.array([3, 0])) + LabelledImages(["e"], np.array([1]))
    assert both.groups is not None
    assert both.groups.tolist() == ["7", "x", ""]
    assert images.of_classes([1]).groups is None
    assert list(images.without_groups_of(both).images) == ["b", "c"]
    with pytest.raises(CraftZooError, match=r"4 images came with groups of shape \(1,\)"):
        LabelledImages(list("abcd"), np.array([0, 1, 1, 0]), ["x"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        pd.Series([1, None, 1, None], index=[3, 1, 0, 2], dtype="Int64"),
        pd.Series([1, None, 1, None]),
        np.array(["1", np.nan, " 1", ""]),
        [1, pd.NA, 1.0, float("nan")],
    ],
)
def test_groups_are_read_as_labels_are(given: Any) -> None:
    images = LabelledImages(list("abcd"), np.zeros(4, int), given)
    assert images.groups is not None
    assert images.groups.tolist() == ["1", "", "1", ""]


def test_a_table_has_groups_and_is_halved_by_them(image_folder: Path) -> None:
    files = sorted((image_folder / "train").rglob("*.png"))
    table = pd.DataFrame(
        {
            "path": [str(file) for file in files],
            "label": [file.parent.name for file in files],
            "group": [f"{file.parent.name} {place % 2}" for place, file in enumerate(files)],
        }
    )
    table.to_csv(image_folder / "list.csv", index=False)
    dataset = load_dataset(f"manifest:{image_folder / 'list.csv'}")
    train, test = dataset.train.groups, dataset.test.groups
    assert train is not None
    assert test is not None
    assert not set(train) & set(test)
    assert set(train) | set(test) == set(table["group"])
    table.drop(columns="group").to_csv(image_folder / "plain.csv", index=False)
    plain = load_dataset(f"manifest:{image_folder / 'plain.csv'}")
    assert plain.train.groups is None
    table.assign(group="").to_csv(image_folder / "empty.csv", index=False)
    assert load_dataset(f"manifest:{image_folder / 'empty.csv'}").train.images == plain.train.images
    without = LabelledImages(dataset.train.images, dataset.train.labels)
    assert fingerprint(replace(dataset, train=without)) != fingerprint(dataset)
    table["group"] = table["label"]
    table.to_csv(image_folder / "list.csv", index=False)
    with pytest.raises(CraftZooError, match="images of too few groups to split"):
        load_dataset(f"manifest:{image_folder / 'list.csv'}")


def test_the_temperature_is_not_fitted_to_images_of_the_shots_groups(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(image_folder.rglob("*.png"))
    table = pd.DataFrame(
        {
            "path": [str(file) for file in files],
            "label": [file.parent.name for file in files],
            "split": [file.parent.parent.name for file in files],
            "group": [f"{file.parent.name} {int(file.stem) % 3}" for file in files],
        }
    )
    table.to_csv(tmp_path / "list.csv", index=False)
    table[table["split"] == "test"].to_csv(tmp_path / "other.csv", index=False)
    tune = ["tune", f"manifest:{tmp_path / 'list.csv'}", "--out", str(tmp_path / "a.adapter")]
    other = f"manifest:{tmp_path / 'other.csv'}"
    assert main([*tune, "--shots", "2", "--method", "refine", "--calibrate", other]) == 0
    words, warned = (" ".join(text.split()) for text in capsys.readouterr())
    assert "5 test images of list share groups with drawn training images" in warned
    assert "on 4 test images of other, without 5 that are copies of training images or" in words


def test_a_data_set_of_the_hub_names_its_groups(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["red", "blue"]),
            "patient": datasets.Value("int64"),
        }
    )
    pixels = [np.full((8, 8, 3), shade, np.uint8) for shade in range(8)]
    columns = {
        "image": [Image.fromarray(each) for each in pixels],
        "label": [0, 0, 0, 0, 1, 1, 1, -1],
        "patient": [1, 1, 2, 2, 3, 4, None, 9],
    }
    datasets.Dataset.from_dict(columns, features).save_to_disk(tmp_path / "set")
    dataset = load_dataset(f"hf:{tmp_path / 'set'},group=patient", skip_bad=True)
    assert dataset.train.groups is not None
    assert dataset.test.groups is not None
    assert sorted([*dataset.train.groups, *dataset.test.groups]) == ["", *"112234"]
    assert not set(dataset.train.groups) & set(dataset.test.groups) - {""}
    with pytest.raises(CraftZooError, match="has no column 'doctor': choose from image"):
        load_dataset(f"hf:{tmp_path / 'set'},group=doctor")


@pytest.mark.parametrize("has_val", [False, True])
def test_images_of_drawn_groups_are_not_measured_on(has_val: bool) -> None:
    labels = np.repeat([0, 1], 8)
    groups = np.array([f"{label} {place % 4}" for place, label in enumerate(labels)])
    images = LabelledImages([np.full((4, 4), shade) for shade in range(16)], labels, groups)
    tested = images.take(np.array([0, 8]))
    val = images if has_val else None
    with pytest.warns(CraftZooWarning, match="made shares? (a group|groups) with drawn"):
        task = few_shot(Dataset("made", ("a", "b"), images, tested, val), 3, seed=1)
    assert task.unused is not None
    assert task.train.groups is not None
    drawn = set(task.train.groups)
    for part in (task.unused, task.val):
        assert part is None or not drawn & set(part.groups.tolist())  # type: ignore[union-attr]


def test_groups_that_leave_nothing_to_hold_out_are_said_to() -> None:
    labels = np.repeat([0, 1], 4)
    images = LabelledImages([np.full((4, 4), shade) for shade in range(8)], labels, labels)
    task = Task("made", ("a", "b"), images, images)
    choice = choose_estimate(task, "refine", CraftConfig(), 1, seed=1, bills=False)
    assert choice.kind == "none"
    assert choice.words.startswith("too few classes have training images of several groups;")


def views(images: LabelledImages) -> list[np.ndarray]:
    """Each image four times with noise, as after one's own augmentation."""
    rng = np.random.default_rng(0)
    noisy = [
        np.asarray(image, float) + rng.normal(0, 4, np.shape(image))
        for image in images.images
        for _ in range(4)
    ]
    return [np.clip(each, 0, 255).astype(np.uint8) for each in noisy]


def test_views_of_an_image_do_not_promise_too_much(digits: Dataset, tiny_vlm: OpenCLIP) -> None:
    digits = part_of(digits, "base")
    drawn = few_shot(digits, 4, seed=1).train
    labels, groups = np.repeat(drawn.labels, 4), np.repeat(np.arange(len(drawn)), 4)
    tested = digits.test.take(np.arange(100))
    vlm = RememberingVLM(tiny_vlm)
    promised, losses = [], []
    for each in (None, groups):
        train = LabelledImages(views(drawn), labels, each)
        task = Task("digits", digits.classnames, train, tested)
        adapter = cz.tune(vlm, task, method="refine", budget=1).adapter
        parts = list(cross_validate(vlm, task, method="refine", budget=1))
        promised.append(sum(part.accuracy * len(part) for part in parts) / len(train))
        measured = cz.evaluate(adapter, vlm, tested)
        losses.append(mean_losses(np.log(measured.probabilities + 1e-9), tested.labels))
        words = choose_estimate(task, "refine", CraftConfig(), 1, seed=1, bills=False).words
        assert words.endswith("in 4 parts of different groups") == (each is not None)
    assert promised[0] > measured.accuracy + 0.2
    assert abs(promised[1] - measured.accuracy) < 0.15
    assert losses[1] < losses[0]
