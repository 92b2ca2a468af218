"""Checks that ``tune`` makes before the first query, and queries to a model that bills."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import craft_zoo as cz
from craft_zoo.anchors import word_list
from craft_zoo.blackbox import (
    ImageSet,
    Journal,
    ModelSpec,
    Prompts,
    ReplayVLM,
)
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import check_method, check_words
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers import OptimizerError
from craft_zoo.tuning import check_tuning


class Paid(OpenCLIP):
    """craft-mini as a service that bills; it counts prompts."""

    bills = True
    asked = 0
    accepts: frozenset[str] | None = None

    def classifier(self, *arguments: object, **more: object) -> object:  # type: ignore[override]
        box = super().classifier(*arguments, **more)  # type: ignore[arg-type]
        ask = box.logits

        def logits(prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
            self.asked += len(prompts)
            return ask(prompts, images)

        box.logits = logits  # type: ignore[method-assign]
        box.accepts = self.accepts or box.accepts
        return box


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch) -> Paid:
    model = Paid.load("craft-mini")
    assert isinstance(model, Paid)
    monkeypatch.setattr(ModelSpec, "open", lambda _: model)
    return model


@pytest.fixture
def task(image_folder: Path) -> cz.Task:
    return cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=2, seed=1)


@pytest.fixture
def tune(image_folder: Path, tmp_path: Path) -> Callable[..., int]:
    def run(*more: object) -> int:
        out = ("--out", tmp_path / "out" / "a", "--shots", 2)
        (tmp_path / "out").mkdir(exist_ok=True)
        return main([str(word) for word in ("tune", f"folder:{image_folder}", *out, *more)])

    return run


def test_texts_that_no_file_can_hold_are_found_before_anything_is_paid(
    paid: Paid, image_folder: Path, tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    refine = ("--method", "refine")
    assert tune(*refine, "--set", "template=a\x07 {}") == 2
    assert "could not be saved: init holds a control character" in capsys.readouterr().err
    for part in ("train", "test"):
        (image_folder / part / "red_square").rename(image_folder / part / "red\x1b[7m")
    assert tune(*refine) == 2
    assert "could not be saved: classnames.2 holds a control character" in capsys.readouterr().err
    assert not paid.asked


@pytest.mark.parametrize("spec", ["cma", "cma:popsize=8", "snes", "spsa", "logit-gn", "spsa-clip"])
def test_an_optimizer_is_checked_with_the_budget_that_it_will_have(spec: str) -> None:
    check_method("craft", spec, budget=100, config=CraftConfig())


@pytest.mark.parametrize(("method", "spec", "budget"), [("craft", "cma", 39), ("prompt", "cma", 1)])
def test_a_budget_without_room_for_a_generation_is_refused_before_the_model_is_opened(
    method: str, spec: str, budget: int
) -> None:
    with pytest.raises(OptimizerError, match="smaller than one generation"):
        check_method(method, spec, budget=budget, config=CraftConfig())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--max-predictions", 2999), "may ask for 3,012 predictions, more than --max-pre"),
        (("--price", 1, "--max-cost", 2.9), "may cost 3.012, more than --max-cost 2.9"),
        (("--price", 0.001, "--max-cost", 0.003), "may cost 0.003012, more than --max-cost 0.003"),
        (("--optimizer", "cma:popsize=501"), "smaller than one generation"),
        (("--budget", 20, "--optimizer", "cma"), "smaller than one generation"),
    ],
)
def test_nothing_is_asked_where_a_limit_could_be_exceeded(
    paid: Paid,
    tune: Callable[..., int],
    tmp_path: Path,
    more: tuple[object, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune("--estimate", "none", *more) == 2
    assert sentence in capsys.readouterr().err
    assert paid.asked == 0
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "more",
    [
        ("--max-predictions", 2000),
        ("--price", 1, "--max-cost", 0.5, "--optimizer", "cma"),
        ("--price", 1, "--max-cost", 1, "--estimate", "cross-validate"),
    ],
)
@pytest.mark.usefixtures("paid")
def test_the_largest_budget_within_a_limit_is_named(
    tune: Callable[..., int], more: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--dry-run", *more) == 2
    found = re.search(r"raise that or lower --budget to (\d+)$", capsys.readouterr().err, re.M)
    assert found is not None
    fits = int(found[1])
    assert tune("--dry-run", "--budget", fits, *more) == 0
    assert tune("--dry-run", "--budget", fits + 1, *more) == 2


@pytest.mark.parametrize(
    "more",
    [
        ("--method", "refine", "--max-predictions", 5),  # one query at any budget
        ("--optimizer", "cma", "--max-predictions", 50),  # less than a generation
    ],
)
@pytest.mark.usefixtures("paid")
def test_where_no_budget_is_within_a_limit_fewer_images_are(
    tune: Callable[..., int], more: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--dry-run", *more) == 2
    assert capsys.readouterr().err.endswith("raise that or lower --shots\n")


def test_an_optimizer_that_has_no_effect_is_said(
    tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--method", "refine", "--optimizer", "cma", "--dry-run") == 0
    assert "refine uses no optimizer: --optimizer has no effect" in capsys.readouterr().out


def test_an_estimate_is_of_one_kind(
    tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tune("--estimate", "none", "--calibrate", "digits")
    assert "--calibrate: not allowed with argument --estimate" in capsys.readouterr().err


def test_a_model_that_bills_is_asked_for_500_queries_unless_told(
    paid: Paid, vlm: OpenCLIP, task: cz.Task, tmp_path: Path
) -> None:
    rest: dict[str, Any] = {"optimizer": None, "seed": 1, "config": None}
    budgets: list[tuple[OpenCLIP, Any, int]] = [
        (paid, None, 500),
        (paid, 501, 501),
        (vlm, None, 8000),
        (vlm, np.int64(7), 7),
    ]
    for model, budget, expected in budgets:
        assert check_tuning(model, task, "craft", budget=budget, **rest) == expected
    with Journal(tmp_path / "journal") as journal:
        recorded = ReplayVLM(paid, journal)
        assert check_tuning(recorded, task, "craft", budget=None, **rest) == 500


def test_the_default_budget_is_said(
    paid: Paid, tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--estimate", "none", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "At most 500 queries (3,000 predictions, and 12 for canaries)" in said
    assert "The budget is 500 queries" in said
    assert tune("--estimate", "none", "--dry-run", "--method", "refine") == 0
    assert "The budget" not in capsys.readouterr().out  # a query needs no budget
    assert paid.asked == 0


def test_a_deployed_image_costs_what_is_billed_for_it(
    paid: Paid, tune: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for bills, cost in (
        (True, "is billed as 2 predictions"),
        (False, "costs as much as 86.33 without"),  # 1 + 256 / 3 classes
    ):
        paid.bills = bills
        assert tune("--method", "anchors", "--dry-run") == 0
        assert f"With 256 anchors, a deployed image {cost}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "accepts", "sentence"),
    [
        ("craft-anchors", "texts", "takes words only"),
        ("craft", "texts", "takes words only"),
        ("craft-hard", "contexts", "takes contexts only"),
        ("hard", "contexts", "takes contexts only"),
    ],
)
def test_a_model_that_takes_no_such_prompts_is_not_asked(
    paid: Paid, task: cz.Task, method: str, accepts: str, sentence: str
) -> None:
    paid.accepts = frozenset({accepts})
    with pytest.raises(CraftZooError, match=sentence):
        cz.tune(paid, task, method=method, budget=200)
    assert paid.asked == 0


@pytest.mark.parametrize("method", ["anchors", "craft-anchors"])
def test_too_few_words_for_anchors_are_found_before_anything_is_asked(
    paid: Paid, tune: Callable[..., int], capsys: pytest.CaptureFixture[str], method: str
) -> None:
    arguments = ["--method", method, "--set", "anchors=1100"]
    for more in ([], ["--dry-run"]):
        assert tune(*arguments, *more) == 2
        assert "there are 1,095 words besides the class names: lower" in capsys.readouterr().err
    assert tune(*arguments, "--budget", "100", "--dry-run") == 0  # at most 297 are asked
    assert tune(*arguments, "--set", "anchor_bank=contexts", "--dry-run") == 0
    assert paid.asked == 0
    names = word_list()[:900]
    with pytest.raises(CraftZooError, match="256 anchors were asked for and there are 195 words"):
        check_words(method, CraftConfig(), 500, names)
    check_words(method, CraftConfig(per_image=1), 500, names)  # leaves no room for anchors


@pytest.mark.parametrize("method", ["refine", "anchors", "craft"])
def test_a_prior_of_other_classes_is_refused_before_the_first_query(
    paid: Paid, task: cz.Task, method: str
) -> None:
    config = CraftConfig(prior="3,1")
    with pytest.raises(CraftZooError, match="the prior has 2 numbers and the task 3 classes"):
        cz.tune(paid, task, method=method, budget=200, config=config)
    assert paid.asked == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"budget": True}, "budget must be a whole number"),
        ({"budget": "8"}, "budget must be a whole number"),
        ({"budget": 0}, "budget must be a whole number, at least 1"),
        ({"seed": 1.0}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"config": {"scale": 1}}, "config must be a CraftConfig"),
        ({"optimizer": 3}, "optimizer must be a str"),
        ({"callbacks": print}, "callbacks must be an Iterable"),
        ({"method": "crfat"}, "did you mean 'craft'"),
        ({"method": ["craft"]}, "unknown method"),
    ],
)
def test_wrong_arguments_of_tune(
    vlm: OpenCLIP, task: cz.Task, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CraftZooError, match=sentence):
        cz.tune(vlm, task, **given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"anchors": "5"}, "setting anchors must be a whole number, not '5'"),
        ({"anchors": True}, "setting anchors must be a whole number"),
        ({"anchors": 2.5}, "setting anchors must be a whole number"),
        ({"scale": "3"}, "setting scale must be a number"),
        ({"discriminant": 0}, "setting discriminant must be True or False"),
        ({"local": ["hog"]}, "setting local must be text"),
    ],
)
def test_settings_of_a_wrong_type(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CraftZooError, match=sentence):
        CraftConfig(**given)
    assert CraftConfig(scale=3, anchors=np.int64(5)).anchors == 5


def test_models_that_are_no_names(vlm: OpenCLIP, task: cz.Task, tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="model must be a str"):
        cz.load_vlm(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match=f"open its model as local-dir:{tmp_path}"):
        cz.load_vlm(str(tmp_path))
    with pytest.raises(CraftZooError, match="neither a file nor weights"):
        cz.load_vlm("ViT-B-32", tmp_path / "missing.pt")
    adapter = cz.tune(vlm, task, method="refine").adapter
    with pytest.raises(CraftZooError, match="vlm must be a VLM"):
        adapter.predict("craft-mini", task.test.images)  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match="vlm must be a VLM"):
        cz.evaluate(adapter, "craft-mini", task)  # type: ignore[arg-type]
