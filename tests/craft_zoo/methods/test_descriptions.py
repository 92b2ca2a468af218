"""Descriptions of classes: their sentences, their ensemble, and what a run of them costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.cli import main
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.methods.descriptions import Bank, ensemble, sentence
from craft_zoo.openclip import OpenCLIP


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("A river is a stream of water.", "A river is a stream of water."),
        ("long banks", "a photo of a river, which has long banks."),
        ("a stream.", "a photo of a river, which is a stream."),
        ("may be  blue", "a photo of a river, which may be blue."),
        ("used by ships", "a photo of a river, which is used by ships."),
        ("which winds", "a photo of a river, which winds."),
    ],
)
def test_sentences(description: str, text: str) -> None:
    assert sentence(description, "River", "a photo of a {}.").replace("River", "river") == text


def test_a_class_name_within_another_word_does_not_name_the_class() -> None:
    assert sentence("has antennae", "ant", "a {}.") == "a ant, which has antennae."
    for text in ("Ants have antennae", "the ant's antennae", "一只ant有触角"):
        assert sentence(text, "ant", "a {}.") == text
    assert sentence("一只猫有胡须", "猫", "a {}.") == "一只猫有胡须"


def bank_of(path: Path, task: Task) -> str:
    """A file with one description of the first class, and two of each other."""
    first, *others = task.classnames
    bank = {name.upper(): ["which is small", "a thing"] for name in others}
    path.write_text(json.dumps(bank | {first: ["round"], "unused": ["no class"]}))
    return str(path)


def problem_of(vlm: OpenCLIP, task: Task, budget: int, **own: object) -> Problem:
    config = read_settings({f"descriptions.{name}": value for name, value in own.items()})
    return Problem.open(vlm, task.classnames, task.train, budget=budget, seed=1, config=config)


def test_the_ensemble_is_the_mean_of_each_class(
    tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    file = bank_of(tmp_path / "bank.json", small_task)
    problem = problem_of(tiny_vlm, small_task, 10, file=file)
    [step] = get_method("descriptions")(problem)
    assert not problem.meter.predictions
    names, images = small_task.classnames, tiny_vlm.images(small_task.test.images[:5])
    expected = []
    for place, name in enumerate(names):
        words = ["which has round"] if place == 0 else ["which is small", "which is a thing"]
        texts = [f"a photo of a {name}, {each}." for each in words]
        logits = tiny_vlm.classifier(texts, "a photo of a").score("{}", images)
        expected.append(logits.mean(axis=1))
    adapter = cz.Adapter.of(step.solution, tiny_vlm, problem.box)
    adapter.save(tmp_path / "a.adapter")
    found = cz.Adapter.load(tmp_path / "a.adapter").predict(tiny_vlm, small_task.test.images[:5])
    whole = np.exp(np.stack(expected, axis=1))
    np.testing.assert_allclose(found, whole / whole.sum(axis=1, keepdims=True), atol=1e-4)
    assert step.solution.predictions == pytest.approx(1 + (2 * len(names) - 1) / len(names))


def test_a_refiner_learns_from_descriptions(
    tiny_vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    file = bank_of(tmp_path / "bank.json", small_task)
    problem = problem_of(tiny_vlm, small_task, 10, file=file, learns=True)
    *_, end = get_method("descriptions")(problem)
    assert end.queries == 3  # the initial prompt, and two texts a class but one
    assert len(end.solution.anchors or ()) == 2 * len(small_task.classnames) - 1
    few = problem_of(tiny_vlm, small_task, 2, file=file, learns=True)
    with pytest.raises(CraftZooError, match="take 3 queries, more than the budget of 2"):
        list(get_method("descriptions")(few))
    assert not few.meter.predictions


def test_a_text_of_two_classes_counts_for_both() -> None:
    texts, weights = ensemble({"a": ["a and b"], "b": ["a and b", "b"]}, ["a", "b"], "a {}.")
    assert texts == ("a and b", "b")
    np.testing.assert_array_equal(weights, [[1, 0.5], [0, 0.5]])


@pytest.mark.parametrize("content", ["[1]", '{"a": "text"}', '{"a": [1]}', '{"a": [" "]}', "{"])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "bank.json").write_text(content)
    with pytest.raises(CraftZooError, match=r"bank\.json is no file of descriptions"):
        Bank(str(tmp_path / "bank.json")).descriptions()


def test_a_class_without_descriptions_is_named() -> None:
    with pytest.raises(CraftZooError, match="has none of 'b'"):
        ensemble({"a": ["red"]}, ["a", "b"], "a {}.")


def test_a_missing_file_and_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match=r"none\.json cannot be read"):
        Bank(str(tmp_path / "none.json")).descriptions()
    with pytest.raises(CraftZooError, match="needs a file"):
        Bank("").descriptions()


def test_another_content_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "bank.json"
    path.write_text('{"a": ["red"]}')
    before = read_settings({"descriptions.file": str(path)})
    path.write_text('{"a": ["blue"]}')
    assert read_settings({"descriptions.file": str(path)}) != before
    with pytest.raises(CraftZooError, match="has changed since"):
        Bank(dict(before.own)["descriptions.file"]).descriptions()


def test_a_bench_with_descriptions(
    tiny_craft_mini: None, undrawn: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    bank = {name: [f"the digit {name}", "round"] for name in words} | {
        str(digit): [f"the digit {digit}", "round"] for digit in range(10)
    }
    (tmp_path / "bank.json").write_text(json.dumps(bank))
    command = ["bench", "--method", "descriptions", "--method", "zero-shot", "--shots", "1"]
    command += ["--set", f"descriptions.file={tmp_path / 'bank.json'}", "--seeds", "1"]
    assert main([*command, "--budget", "40", "--out", str(tmp_path / "out")]) == 0
    assert "descriptions" in capsys.readouterr().out
