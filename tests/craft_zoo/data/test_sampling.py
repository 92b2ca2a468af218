"""Few-shot draws, and parts of data sets."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.data import (
    Dataset,
    Fewer,
    LabelledImages,
    Sampling,
    Task,
    few_shot,
    fingerprint,
    load_dataset,
    part_of,
)
from craft_zoo.errors import CraftZooError


def listed(prefix: str, labels: Sequence[int]) -> LabelledImages:
    """Images that are only names: ``train/0``, ``train/1``, and so on."""
    names = [f"{prefix}/{i}" for i in range(len(labels))]
    return LabelledImages(names, np.array(labels, dtype=np.int64))


@st.composite
def datasets(draw: st.DrawFn, least: int = 1) -> Dataset:
    """Data sets of 2 to 7 classes with at least ``least`` training images each, in any order."""
    n_classes = draw(st.integers(2, 7))

    def labels(least: int, most: int) -> list[int]:
        counts = [draw(st.integers(least, most)) for _ in range(n_classes)]
        every = [label for label, count in enumerate(counts) for _ in range(count)]
        return draw(st.permutations(every))

    val = draw(st.none() | st.just(0))
    return Dataset(
        "made",
        tuple(f"class {label}" for label in range(n_classes)),
        listed("train", labels(least, least + 8)),
        listed("test", labels(1, 2)),
        None if val is None else listed("val", labels(0, 6)),
        template="a {}.",
    )


def as_coop(
    train: Sequence[tuple[str, int]],
    val: Sequence[tuple[str, int]],
    shots: int,
    seed: int,
    repeat: bool = False,
) -> list[list[tuple[str, int]]]:
    """Seed once; of the training list, then of the validation list, sample class by class.

    ``repeat`` is Dassl's argument of that name, whose default was true until October 2021.
    """
    random.seed(seed)
    drawn = []
    for items, number in ((train, shots), (val, min(shots, 4))):
        by_label = defaultdict(list)
        for item in items:
            by_label[item[1]].append(item)
        chosen = []
        for mine in by_label.values():
            if len(mine) >= number:
                chosen += random.sample(mine, number)
            else:
                chosen += random.choices(mine, k=number) if repeat else mine
        drawn.append(chosen)
    return drawn


def pairs(images: LabelledImages | None) -> list[tuple[str, int]]:
    if images is None:
        return []
    return [
        (str(image), label)
        for image, label in zip(images.images, images.labels.tolist(), strict=True)
    ]


def names(task: Task) -> tuple[list[str], list[str]]:
    return [name for name, _ in pairs(task.train)], [name for name, _ in pairs(task.val)]


@given(
    dataset=datasets(least=4),
    shots=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    sampling=st.sampled_from(["uniform", "coop"]),
)
def test_shots_are_distinct_of_every_class_and_none_is_for_validation_too(
    dataset: Dataset, shots: int, seed: int, sampling: Sampling
) -> None:
    task = few_shot(dataset, shots, seed, sampling=sampling)
    n_classes = len(dataset.classnames)
    train, val = names(task)
    assert np.bincount(task.train.labels).tolist() == [shots] * n_classes
    assert len(set(train)) == len(train)
    assert not set(train) & set(val)
    assert set(pairs(task.train)) <= set(pairs(dataset.train))
    pool = dataset.val if dataset.val is not None and len(dataset.val) else dataset.train
    assert set(pairs(task.val)) <= set(pairs(pool))
    left = np.bincount(pool.labels, minlength=n_classes) - shots * (pool is dataset.train)
    expected = np.minimum(left, shots).tolist()  # shots are 4 at most
    if task.val is None:
        assert not sum(expected)
    else:
        assert np.bincount(task.val.labels, minlength=n_classes).tolist() == expected
    assert names(few_shot(dataset, shots, seed, sampling=sampling)) == (train, val)
    assert task.test is dataset.test
    assert task.template == "a {}."


def test_four_validation_images_a_class_at_most(digits: Dataset) -> None:
    task = few_shot(digits, 16, 1)
    assert task.val is not None
    assert np.bincount(task.val.labels).tolist() == [4] * 10


def test_uniform_draws_are_those_of_results_that_exist(digits: Dataset) -> None:
    # Written down from the first release's few_shot.
    drawn = few_shot(digits, 2, 1).train.images
    index = {id(image): str(i) for i, image in enumerate(digits.train.images)}
    expected = "512 642 90 131 388 591 83 190 297 627 74 163 223 672 273 568 556 645 31 375"
    assert " ".join(index[id(image)] for image in drawn) == expected
    without = replace(digits, val=digits.test)
    again = few_shot(without, 2, 1).train.images
    assert [id(image) for image in again] == [id(image) for image in drawn]


@given(
    dataset=datasets(),
    shots=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    fewer=st.sampled_from(["all", "repeat"]),
)
def test_coop_draws_as_seeding_once_and_sampling_class_by_class(
    dataset: Dataset, shots: int, seed: int, fewer: Fewer
) -> None:
    with_val = replace(dataset, val=dataset.val or listed("val", [0] * 5 + [1] * 5))
    task = few_shot(with_val, shots, seed, sampling="coop", fewer=fewer)
    drawn = as_coop(pairs(with_val.train), pairs(with_val.val), shots, seed, fewer == "repeat")
    assert [pairs(task.train), pairs(task.val)] == drawn


@given(
    dataset=datasets(least=4),
    shots=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    part=st.sampled_from(["base", "new"]),
)
def test_parts_are_drawn_from_after_all_classes_are_as_coop_does(
    dataset: Dataset, shots: int, seed: int, part: str
) -> None:
    dataset = replace(dataset, val=listed("val", [*range(len(dataset.classnames))] * 4))
    n_base = -(-len(dataset.classnames) // 2)
    kept = range(n_base) if part == "base" else range(n_base, len(dataset.classnames))
    if len(kept) < 2:
        with pytest.raises(CraftZooError, match=f"@{part} of made would have {len(kept)} of its"):
            part_of(dataset, part)
        return
    mine = part_of(dataset, part)
    assert mine.name == f"made ({part} classes)"
    assert mine.classnames == tuple(dataset.classnames[label] for label in kept)
    task = few_shot(mine, shots, seed, sampling="coop")
    drawn = as_coop(pairs(dataset.train), pairs(dataset.val), shots, seed)
    for ours, theirs in zip((task.train, task.val), drawn, strict=True):
        assert pairs(ours) == [(name, label - kept[0]) for name, label in theirs if label in kept]
    uniform = few_shot(mine, shots, seed)
    assert uniform.train.labels.tolist() == sorted(uniform.train.labels.tolist())
    assert np.bincount(uniform.train.labels).tolist() == [shots] * len(kept)


def test_coop_leaves_the_global_generator_alone(digits: Dataset) -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    few_shot(digits, 3, 1, sampling="coop")
    assert random.random() == expected


def test_parts_share_out_classes_and_images(digits: Dataset) -> None:
    base, new = load_dataset("digits@base"), load_dataset("digits@new")
    assert base.classnames + new.classnames == digits.classnames
    assert len(base.test) + len(new.test) == len(digits.test)
    first = np.flatnonzero(digits.test.labels >= 5)[0]
    assert np.array_equal(np.asarray(new.test.images[0]), np.asarray(digits.test.images[first]))
    assert new.test.labels[0] == digits.test.labels[first] - 5
    prints = {fingerprint(part) for part in (digits, base, new)}
    assert len(prints) == 3


def test_parts_of_validation_images_are_taken_too() -> None:
    dataset = Dataset(
        "made",
        ("a", "b", "c", "d"),
        listed("train", [0, 1, 2, 3]),
        listed("test", [3, 2, 1, 0]),
        listed("val", [2, 0, 3]),
    )
    assert pairs(part_of(dataset, "new").val) == [("val/0", 0), ("val/2", 1)]
    assert pairs(part_of(dataset, "base").test) == [("test/2", 1), ("test/3", 0)]


def test_at_signs_that_name_no_part_belong_to_the_argument() -> None:
    with pytest.raises(CraftZooError, match="folder /nowhere@home does not exist"):
        load_dataset("folder:/nowhere@home")
    with pytest.raises(CraftZooError, match="unknown data set 'digits@old'"):
        load_dataset("digits@old")


def test_classes_with_fewer_images_are_taken_whole_where_that_is_asked() -> None:
    dataset = Dataset("made", ("a", "b"), listed("train", [0, 1, 1, 1]), listed("test", [0, 1]))
    for sampling in ("uniform", "coop"):
        with pytest.raises(CraftZooError, match="class 'a' of made has 1 training images, fewer"):
            few_shot(dataset, 2, 1, sampling=sampling)  # type: ignore[arg-type]
        task = few_shot(dataset, 3, 1, sampling=sampling, fewer="all")  # type: ignore[arg-type]
        assert sorted(pairs(task.train)) == pairs(dataset.train)
        assert task.val is None
        task = few_shot(dataset, 3, 1, sampling=sampling, fewer="repeat")  # type: ignore[arg-type]
        assert np.bincount(task.train.labels).tolist() == [3, 3]
        assert set(pairs(task.train)) == set(pairs(dataset.train))


def test_a_class_without_training_images_is_named() -> None:
    dataset = Dataset("made", ("a", "b"), listed("train", [0, 0]), listed("test", [0, 1]))
    with pytest.raises(CraftZooError, match="class 'b' of made has 0 training images"):
        few_shot(dataset, 1, 1, fewer="all")


def test_a_data_set_for_testing_only_says_so() -> None:
    dataset = Dataset("imagenet-r", ("a", "b"), listed("train", []), listed("test", [0, 1]))
    with pytest.raises(CraftZooError, match=r"imagenet-r is only for testing: .*--transfer"):
        few_shot(dataset, 1, 1)


def test_unknown_samplings_name_the_choices(digits: Dataset) -> None:
    with pytest.raises(CraftZooError, match="unknown sampling 'random': choose from uniform, coop"):
        few_shot(digits, 1, 1, sampling="random")  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match="unknown fewer 'some': choose from error, all, repeat"):
        few_shot(digits, 1, 1, fewer="some")  # type: ignore[arg-type]


def test_fingerprints_count_validation_images() -> None:
    dataset = Dataset("made", ("a", "b"), listed("train", [0, 1]), listed("test", [0, 1]))
    one = replace(dataset, val=listed("val", [0, 1]))
    two = replace(dataset, val=listed("val", [1, 0]))
    assert len({fingerprint(each) for each in (dataset, one, two)}) == 3
