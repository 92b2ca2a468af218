"""Costs that ``tune`` announces equal those that it causes and that a service would bill."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from craft_zoo.blackbox import ImageSet, Journal, ModelSpec, Prompts
from craft_zoo.cli import main
from craft_zoo.openclip import OpenCLIP


class Billed(OpenCLIP):
    """A model that counts what a service would bill: a prediction per prompt and image."""

    counted = 0
    stops_after = 10**9  # predictions

    def classifier(self, *arguments: object, **more: object) -> object:  # type: ignore[override]
        box = super().classifier(*arguments, **more)  # type: ignore[arg-type]
        ask = box.logits

        def logits(prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
            if self.counted >= self.stops_after:
                raise KeyboardInterrupt
            self.counted += len(prompts) * len(images)
            return ask(prompts, images)

        box.logits = logits  # type: ignore[method-assign]
        return box


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, make_tiny: Callable[..., Billed]) -> Billed:
    model = make_tiny(Billed)
    monkeypatch.setattr(ModelSpec, "open", lambda _: model)
    return model


@pytest.fixture
def tune(tmp_path: Path) -> Callable[..., int]:
    def run(dataset: str, *more: object) -> int:
        words = ("tune", dataset, "--out", tmp_path / "a", "--shots", 2, *more)
        return main([str(word) for word in words])

    return run


def costs(text: str, word: str) -> tuple[int, int, int, int]:
    """Queries, predictions, and those for the estimate and canaries, printed after ``word``."""
    found = re.search(
        rf"{word} ([\d,]+) quer(?:y|ies) \(([\d,]+) predictions?"
        r"(?:, and ([\d,]+) for the estimate)?(?:,? and ([\d,]+) for canaries)?\)",
        text,
    )
    assert found is not None, text
    queries, predictions, estimate, canaries = (
        int((number or "0").replace(",", "")) for number in found.groups()
    )
    return queries, predictions, estimate, canaries


def banked(bank: str, anchors: int = 17) -> tuple[str, ...]:
    return ("--set", f"anchors={anchors}", "--set", f"anchor_bank={bank}")


LIMITED = ("--per-image", "2.2")
BANKS = ("words", "spread", "information", "contexts")


METHODS = [
    ("--method", "zero-shot"),
    ("--method", "refine"),
    ("--method", "templates"),
    ("--method", "craft", "--optimizer", "random", "--shots", "4"),  # enough to hold some out
    *(("--method", "anchors", *banked(bank)) for bank in BANKS),
    *(("--method", "craft-anchors", "--optimizer", "random", *banked(bank)) for bank in BANKS),
    *(("--method", "anchors", *banked(bank), *LIMITED) for bank in ("words", "contexts")),
    ("--method", "craft-anchors", "--optimizer", "random", *banked("words"), *LIMITED),
    ("--method", "anchors", "--per-image", "1"),
]


@pytest.mark.parametrize("estimate", ["auto", "cross-validate", "none"])
@pytest.mark.parametrize("arguments", METHODS, ids=lambda words: "-".join(words[1::2]))
def test_what_is_said_first_is_what_is_counted_last(
    model: Billed,
    tune: Callable[..., int],
    arguments: tuple[str, ...],
    estimate: str,
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = "digits" if estimate == "auto" else f"folder:{image_folder}"
    assert tune(source, "--budget", 60, "--estimate", estimate, *arguments) == 0
    text = capsys.readouterr().out
    assert costs(text, "after") == costs(text, "At most")
    assert model.counted == sum(costs(text, "after")[1:])


@pytest.mark.parametrize("arguments", METHODS, ids=lambda words: "-".join(words[1::2]))
def test_so_is_an_estimate_on_the_shots_alone(
    model: Billed,
    tune: Callable[..., int],
    arguments: tuple[str, ...],
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune(f"folder:{image_folder}", "--budget", 60, *arguments) == 0
    text = capsys.readouterr().out
    assert "cross-validated" in text
    assert costs(text, "after") == costs(text, "At most")
    assert model.counted == sum(costs(text, "after")[1:])


@pytest.mark.parametrize("learns", ["false", "true"])
@pytest.mark.parametrize("estimate", ["auto", "cross-validate"])
def test_so_is_a_method_with_texts_of_its_own_for_each_class(
    model: Billed,
    tune: Callable[..., int],
    learns: str,
    estimate: str,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bank = {name: [f"a {name}", "a colour"] for name in ("red square", "green field", "blue sky")}
    (tmp_path / "bank.json").write_text(json.dumps(bank))
    given = ["--set", f"descriptions.file={tmp_path / 'bank.json'}", "--estimate", estimate]
    given += ["--set", f"descriptions.learns={learns}", "--budget", "9"]
    assert tune(f"folder:{image_folder}", "--method", "descriptions", *given) == 0
    text = capsys.readouterr().out
    assert costs(text, "after") == costs(text, "At most")
    assert model.counted == sum(costs(text, "after")[1:])


def test_a_method_that_looks_into_the_model_is_estimated_too(
    model: Billed, tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("digits", "--method", "coop") == 0
    text = capsys.readouterr().out
    assert costs(text, "after") == costs(text, "At most") == (0, 0, 400, 8)
    assert "measured on 200 labelled images" in text


@pytest.mark.parametrize("estimate", ["auto", "none"])
def test_a_run_begun_again_is_held_against_the_limits_for_what_is_left(
    model: Billed,
    tune: Callable[..., int],
    tmp_path: Path,
    image_folder: Path,
    estimate: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, most = f"folder:{image_folder}", 60 * 6 + 6 + (6 if estimate == "auto" else 0)
    run = (source, "--budget", 60, "--optimizer", "random", "--estimate", estimate)
    model.stops_after = 200
    assert tune(*run) == 130
    done = model.counted
    with Journal(tmp_path / "a.journal") as journal:
        assert journal.answered == done
    left = most - done
    model.stops_after = 10**9
    capsys.readouterr()
    assert tune(*run, "--max-predictions", left - 1) == 2
    assert f"may ask for {left:,} predictions, more than --max" in capsys.readouterr().err
    assert model.counted == done
    assert tune(*run, "--dry-run", "--max-predictions", left) == 0
    assert f"of which {done} predictions were answered before" in capsys.readouterr().out
    assert tune(*run, "--max-predictions", left) == 0
    assert sum(costs(capsys.readouterr().out, "after")[1:]) == most == model.counted
    assert not (tmp_path / "a.journal").exists()


def test_the_journal_of_a_stopped_run_is_no_leave_to_replace_an_adapter(
    model: Billed,
    tune: Callable[..., int],
    tmp_path: Path,
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = (f"folder:{image_folder}", "--budget", 60, "--optimizer", "random")
    assert tune(*run, "--seed", 2) == 0
    finished = (tmp_path / "a").read_bytes()
    model.counted, model.stops_after = 0, 200
    assert tune(*run, "--force") == 130
    assert (tmp_path / "a.journal").exists()
    assert tune(*run) == 2
    assert "a exists: choose another --out, or replace it with --force" in capsys.readouterr().err
    assert (tmp_path / "a").read_bytes() == finished
    model.stops_after = 10**9
    assert tune(*run, "--force") == 0
    assert (tmp_path / "a").read_bytes() != finished
