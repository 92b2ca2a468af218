"""Published protocol in a bench: validation images, transfer, suites, cost estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo import Adapter, tune
from craft_zoo.benchmarks import (
    Bench,
    Plan,
    RunSpec,
    RunStore,
    combine,
    cross,
    estimate_costs,
    read_plan,
    read_suite,
    suite_names,
)
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.blackbox import ModelSpec
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.data import Dataset, DatasetSpec, few_shot, load_dataset, published_datasets
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, earlier_own_settings, method_names, read_settings
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP
from craft_zoo.rehearsal import rehearse
from craft_zoo.solution import Solution
from craft_zoo.transfer import transfer

pytestmark = pytest.mark.usefixtures("tiny_craft_mini", "undrawn")


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


def grid(dataset: str | DatasetSpec, method: str = "craft", **changes: object) -> list:
    arguments: dict = {
        "model": "craft-mini",
        "datasets": [DatasetSpec(dataset) if isinstance(dataset, str) else dataset],
        "variants": combine([method], ["cma:popsize=5"], CraftConfig()),
        "shots": [1],  # for more, the refiner is cross-validated, which takes longest
        "seeds": [1],
        "budgets": [12],
    }
    return cross(**arguments | changes)


def test_transfer_uses_all_of_it_where_the_classes_are_known(
    vlm: OpenCLIP, digits: Dataset
) -> None:
    """Columns are picked of the refined logits; anchors are asked for too."""
    task = few_shot(digits, 1, 1)
    tuned = tune(vlm, task, method="anchors", budget=10, config=CraftConfig(anchors=15)).adapter
    images = digits.test.images[:20]
    names = ("seven", "one", "four")
    logits = transfer(tuned.solution, vlm, tuned.open(vlm), vlm.images(images), names)
    whole = tuned.solution.refine(*tuned.ask(vlm, images))
    np.testing.assert_allclose(logits, whole[:, [7, 1, 4]], atol=1e-4)


def test_transfer_to_other_classes_is_by_the_prompt_alone(vlm: OpenCLIP, digits: Dataset) -> None:
    task = few_shot(digits, 1, 1)
    images, names = vlm.images(digits.test.images[:20]), ("a cat", "seven")
    box = vlm.classifier(names)
    shared = tune(vlm, task, optimizer="cma:popsize=5", budget=12).adapter
    assert isinstance(shared.solution.prompt, np.ndarray)
    logits = transfer(shared.solution, vlm, shared.open(vlm), images, names)
    np.testing.assert_allclose(logits, box.score(shared.solution.prompt, images), atol=1e-4)
    own = tune(vlm, task, budget=25).adapter
    assert isinstance(own.solution.prompt, np.ndarray)
    mean = own.solution.prompt.mean(axis=0)
    logits = transfer(own.solution, vlm, own.open(vlm), images, names)
    np.testing.assert_allclose(logits, box.score(mean, images), atol=1e-4)


def test_a_bench_tries_solutions_on_other_data(vlm: OpenCLIP, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    [run] = grid("digits@base", transfer=["digits@new", "digits@base"])
    [points] = Bench(vlm, store).run([run]).values()
    tried = store.read_all()[0][run].transfer
    assert list(tried) == ["digits@new", "digits@base"]
    assert tried["digits@base"] == pytest.approx(points[-1].accuracy)
    adapter, new = Adapter.load(store.adapter_path(run)), load_dataset("digits@new")
    images = vlm.images(new.test.images)
    logits = transfer(adapter.solution, vlm, adapter.open(vlm), images, new.classnames)
    assert tried["digits@new"] == pytest.approx(accuracy(logits, new.test.labels))
    [plain] = grid("digits@base")
    assert plain.identity != run.identity


def test_measured_on_validation_images(vlm: OpenCLIP, digits: Dataset, tmp_path: Path) -> None:
    """The same search, measured on images that neither shots nor test images are."""
    store = RunStore(tmp_path)
    [on_test], [on_val] = grid("digits"), grid("digits", measured_on="val")
    curves = Bench(vlm, store).run([on_test, on_val])
    assert [p.loss for p in curves[on_test][1:]] == [p.loss for p in curves[on_val][1:]]
    adapter, task = Adapter.load(store.adapter_path(on_val)), few_shot(digits, 1, 1)
    assert task.val is not None
    probabilities = adapter.predict(vlm, task.val.images)
    assert curves[on_val][-1].accuracy == pytest.approx(accuracy(probabilities, task.val.labels))


def test_a_method_that_asks_past_its_meter_fails(
    vlm: OpenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks_itself(problem: Problem) -> Iterator[Step]:
        problem.box.score(problem.initial_prompt, problem.images)
        yield Step(0, Solution(problem.initial_prompt))

    monkeypatch.setattr("craft_zoo.benchmarks.runner.get_method", lambda _: asks_itself)
    [run] = grid("digits", "zero-shot")
    outcome = Bench(vlm, RunStore(tmp_path)).attempt(run)
    assert "zero-shot made 10 predictions that were not counted: ask through" in outcome.reason


def test_no_validation_images_are_left(image_folder: Path, vlm: OpenCLIP, tmp_path: Path) -> None:
    runs = grid(f"folder:{image_folder}", shots=[4], measured_on="val")
    with pytest.raises(CraftZooError, match="no validation images and no training images are left"):
        Bench(vlm, RunStore(tmp_path)).run(runs)


def test_how_shots_are_drawn_counts_and_where_data_lie_does_not() -> None:
    [plain] = grid("digits")
    [moved] = grid(DatasetSpec("digits", root="/elsewhere", download=True, skip_bad=True))
    [drawn] = grid(DatasetSpec("digits", sampling="coop"))
    assert plain.identity == moved.identity != drawn.identity
    assert plain == type(plain).from_json(plain.to_json())
    assert drawn == type(drawn).from_json(drawn.to_json())


def test_craft_released_before_its_settings_is_read_as_it_was_run() -> None:
    """Of a record in docs/results/study; what is run now has another identity."""
    config = read_settings(earlier_own_settings("craft-released"))

    def released(config: CraftConfig) -> RunSpec:
        [run] = cross(
            "craft-mini",
            [DatasetSpec("digits")],
            combine(["craft-released"], [], config),
            shots=[16],
            seeds=[3],
            budgets=[8000],
        )
        return run

    before, now = released(config), released(CraftConfig())
    assert before.identity == "digits-craft-released-none-16shots-seed3-2305c9ab36"
    assert now.identity != before.identity
    stored = before.to_json()
    del stored["config"]["own"]
    assert RunSpec.from_json(stored) == before
    assert RunSpec.from_json(now.to_json()) == now
    labels = label_runs([before, now])
    assert labels[now] == "craft-released"
    assert ", features=normalised, " in labels[before]


def test_identities_are_those_of_records_that_exist() -> None:
    """Of a run in docs/results/study, made before there were these settings."""
    [run] = cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(["refine"], [], CraftConfig(discriminant=False, initial_answer=False)),
        shots=[16],
        seeds=[1],
        budgets=[8000],
    )
    assert run.identity == "digits-refine-none-16shots-seed1-deb7b2eb55"
    stored = run.to_json()
    for setting in ("discriminant", "initial_answer", "template"):
        del stored["config"][setting]
    assert RunSpec.from_json(stored) == run
    now = replace(run, config=CraftConfig())
    assert RunSpec.from_json(now.to_json()) == now
    assert now.identity != run.identity


def test_spsa_clip_is_read_where_it_was_called_zip() -> None:
    """Of records in docs/results/study, and of what is called zip now."""

    def made(method: str, optimizer: str, budget: int) -> RunSpec:
        [run] = cross(
            "craft-mini",
            [DatasetSpec("digits")],
            combine([method], [optimizer], CraftConfig(discriminant=False, initial_answer=False)),
            shots=[16],
            seeds=[1],
            budgets=[budget],
        )
        return run

    alone, within, now = (
        made("spsa-clip", "spsa-clip", 8000),
        made("craft", "spsa-clip", 2000),
        made("zip", "cma", 8000),
    )
    assert alone.identity == "digits-zip-none-16shots-seed1-0033e3126c"
    assert within.identity == "digits-craft-zip-16shots-seed1-0e441d07e3"
    assert RunSpec.from_json(alone.to_json() | {"method": "zip"}) == alone
    assert RunSpec.from_json(within.to_json() | {"optimizer": "zip:c=0.3"}) == replace(
        within, optimizer="spsa-clip:c=0.3"
    )
    assert RunSpec.from_json(now.to_json()) == now
    assert now.identity != alone.identity


def test_visual_prompt_is_read_where_it_was_called_blackvip() -> None:
    def made(method: str) -> RunSpec:
        [run] = cross(
            "craft-mini",
            [DatasetSpec("digits")],
            combine([method], ["cma"], CraftConfig(discriminant=False)),
            shots=[16],
            seeds=[1],
            budgets=[8000],
        )
        return run

    before, now = made("visual-prompt"), made("blackvip")
    assert before.identity == "digits-blackvip-none-16shots-seed1-8a5cc02b1e"
    assert RunSpec.from_json(before.to_json() | {"method": "blackvip"}) == before
    assert RunSpec.from_json(before.to_json()) == before
    assert RunSpec.from_json(now.to_json()) == now
    assert now.identity != before.identity


PARTS = """
datasets: digits
shots: 2
methods: zero-shot
parts:
  few: {budgets: 50, seeds: 2}
  base to new: {datasets: digits@base, transfer: digits@new, methods: [craft], seeds: [7]}
  more shots: {shots: [4, 8], budgets_by_shots: {"4": 60, 8: 70}, seeds: [1]}
"""


def test_parts_of_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PARTS)
    runs = list(Plan.of(read_plan(path)).runs())
    described = [(r.dataset.name, r.method, r.shots, r.seed, r.budget, r.transfer) for r in runs]
    assert described == [
        ("digits", "zero-shot", 2, 1, 50, ()),
        ("digits", "zero-shot", 2, 2, 50, ()),
        ("digits@base", "craft", 2, 7, 8000, ("digits@new",)),
        ("digits", "zero-shot", 4, 1, 60, ()),
        ("digits", "zero-shot", 8, 1, 70, ()),
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("parts: {a: {budgets_by_shots: {4: 60}}}", "the budgets lack an entry for 16 shots"),
        (
            "parts: {a: {shot: 3}}",
            "part 'a' of the plan: shot is no key of a plan: did you mean",
        ),
        ("parts: {a: {parts: {}}}", "part 'a' contains parts"),
        ("sampling: cope", "sampling should be 'uniform' or 'coop', not 'cope'"),
    ],
)
def test_parts_that_are_wrong(change: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"datasets: digits\n{change}\n")
    with pytest.raises(CraftZooError, match=complaint):
        Plan.of(read_plan(path), str(path)).runs()


ABLATIONS = (
    *("craft", "without a refiner", "unified context", "refiner solved once"),
    *("no shots held out", "256 dimensions", "cma for logit-gn", "spsa-gc for logit-gn"),
    *(
        "spsa-clip for logit-gn",
        "cma, network refiner",
        "anchors: 16",
        "anchors: 64",
        "anchors: 256",
    ),
    *("anchors: 1,000", "anchors: by spread", "anchors: by information", "anchors: contexts"),
)


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_has_runs(name: str) -> None:
    assert Plan.of(read_suite(name)).runs(look=False)


def test_suites_ask_for_the_papers_experiments() -> None:
    papers = {"craft-paper", "craft-paper-shift", "sharpzo-paper", "zip-paper"}
    assert papers <= set(suite_names())
    craft = Plan.of(read_suite("craft-paper")).runs(look=False)
    few = [run for run in craft if not run.transfer]
    assert len(few) == 11 * 5 * 3 * 4  # data sets, shots, seeds, methods
    searched = [run for run in few if run.method != "zero-shot"]
    by_shots = {1: 2000, 2: 4000, 4: 4000, 8: 8000, 16: 8000}
    for run in searched:
        most = 4000 if run.dataset.name == "imagenet" else 8000
        assert run.budget == min(by_shots[run.shots], most)
    # "a photo of a" is the start of all that is learnt
    for run in craft:
        template = "dataset" if run.method == "zero-shot" else CraftConfig().template
        assert run.config.template == template
    [shifted] = {run.model for run in Plan.of(read_suite("craft-paper-shift")).runs(look=False)}
    assert shifted == "ViT-B-16-quickgelu@openai"
    shifts = {name for run in craft for name in run.transfer}
    assert shifts == {"imagenetv2", "imagenet-sketch", "imagenet-a", "imagenet-r"}
    assert {run.dataset.sampling for run in craft} == {"coop"}
    names = {name.partition("@")[0] for run in craft for name in (run.dataset.name, *run.transfer)}
    assert names <= set(published_datasets())
    study = Plan.of(read_suite("study")).runs(look=False)
    assert Counter(study.values()) == {"": 13 * 3 * 3, **dict.fromkeys(ABLATIONS, 3)}
    assert {run.method for run, name in study.items() if not name} == set(method_names()) - {
        *("prompt", "hard", "craft-hard", "vectors", "vectors-local", "local"),
        *("lfa", "lfa-local"),
        *("descriptions", "llm-prompts"),  # need a file, a language model
        "sharpzo",  # a generation takes more than a sixth of the study's budget
        # Those that encode training images again and again.
        *("bar", "blackvip", "blackvip-se", "bpt-vlm", "bpt-vlm-deep", "cbbt", "visual-prompt"),
        "zip",
    }
    assert {run.budget for run, name in study.items() if name} == {2000}
    zip_paper = Plan.of(read_suite("zip-paper")).runs(look=False)
    assert {run.budget for run in zip_paper} == {5000}
    assert {run.model for run in zip_paper} == {"ViT-B-16-quickgelu@openai"}
    sharpzo = Plan.of(read_suite("sharpzo-paper")).runs(look=False)
    assert len(sharpzo) == 11 * 5 * 3  # data sets, methods, seeds
    assert {run.dataset.sampling for run in sharpzo} == {"coop"}
    assert {run.budget for run in sharpzo if run.method == "sharpzo"} == {
        100 * (1024 + 40) + 199_900 * 2 + 1000 * 1024  # generations, steps, gradients for scores
    }
    tried = {(run.dataset.name, run.transfer) for run in zip_paper if "@" in run.dataset.name}
    assert len(tried) == 13
    assert all(other == (name.replace("@base", "@new"),) for name, other in tried)


def test_a_suite_runs_on_published_layouts(
    vlm: OpenCLIP, published_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of craft-paper's data sets and shifts, tiny ones, at their smallest."""
    out = tmp_path / "bench"
    smallest = ["--shots", "1", "--budget", "3", "--seeds", "1", "--method", "zero-shot"]
    command = ["bench", "--suite", "craft-paper", "--model", "craft-mini", "--out", str(out)]
    command += ["--data-root", str(published_root), *smallest]
    assert main(command) == 0
    assert "stanford_cars" in capsys.readouterr().out
    curves, broken = RunStore(out).read_all()
    assert not broken
    assert {run.dataset.name for run in curves} == {
        *("caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "eurosat"),
        *("fgvc_aircraft", "sun397", "dtd", "ucf101", "imagenet"),
    }
    shifts = [run for run in curves if run.transfer]
    for shift in shifts:
        assert len(RunStore(out).read_all()[0][shift].transfer) == 4
    # of the parts for zero-shot, and of those for what is learnt
    both = {"dataset", CraftConfig().template}
    assert {run.config.template for run in shifts} == both
    assert {run.config.template for run in curves} == both


def test_a_forecast_counts_what_runs_ask_for(vlm: OpenCLIP, tmp_path: Path) -> None:
    """Queries and predictions are those of the meter; evaluation is, or little more."""
    runs = [
        *grid("digits", "zero-shot"),
        *grid("digits", "refine"),
        *grid("digits", "anchors"),
        *grid("digits", "craft"),
        *grid("digits", "hard"),
    ]
    table = estimate_costs(runs, vlm=vlm).set_index("method")
    assert (table["seconds"] > 0).all()
    curves = Bench(vlm, RunStore(tmp_path)).run(runs)
    for run, points in curves.items():
        asked, end = table.loc[run.method], points[-1]
        assert asked["queries"] == end.queries
        assert asked["predictions"] == end.search_predictions
        assert 1 <= asked["evaluation"] / end.evaluation_predictions <= 1.05, run.method
    done = estimate_costs(runs, finished=runs)
    assert done["done"].sum() == 5
    assert done["queries"].sum() == 0


def test_a_dry_run_needs_neither_data_nor_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CRAFT_ZOO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    command = ["bench", "--suite", "craft-paper", "--shots", "1", "--dry-run", "--price", "0.5"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Time is not known: model RN50 with weights 'openai' cannot be loaded" in printed
    assert "counted by their published sizes: caltech101" in printed
    together = printed[printed.index("Together, at most:") :]
    # 11 data sets x 3 seeds x 2,000 of three methods, and ImageNet's shift of two
    assert f"queries {11 * 3 * 3 * 2000 + 3 * 2 * 2000:,}" in together
    assert not list(tmp_path.iterdir())
    assert main(["bench", "--dry-run", "--dataset", "folder:nowhere"]) == 2


def test_a_dry_run_asks_nothing_of_a_model_that_bills(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Paid:
        name, bills, counts_usage = "https://paid", True, False  # has nothing to be asked with

    monkeypatch.setattr(ModelSpec, "open", lambda _: Paid())
    assert (
        main(
            ["bench", "--dry-run", "--model", "https://paid", "--price", "2", "--method", "prompt"]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "Time is not known: asking https://paid would be billed" in printed
    # Of 24,000 queries on 160 images, and of measuring 1,000 images at most 208 times a run.
    [price] = [line for line in printed.splitlines() if line.startswith("  price")]
    assert 8_880 < float(price.rpartition(" ")[2].replace(",", "")) < 8_940


@pytest.mark.parametrize("optimizer", ["cma", "spsa", "zo-adam", "snes"])
def test_a_forecast_knows_generations_of_every_size(
    vlm: OpenCLIP, tmp_path: Path, optimizer: str
) -> None:
    plan = {"methods": "prompt", "optimizers": optimizer, "budgets": 90, "shots": 1, "seeds": 1}
    runs = list(Plan.of(plan).runs())
    [points] = Bench(vlm, RunStore(tmp_path)).run(runs).values()
    asked = estimate_costs(runs)["evaluation"].item()
    assert 1 <= asked / points[-1].evaluation_predictions <= 1.05


@pytest.mark.parametrize(
    ("method", "budget", "settings"),
    [
        ("craft", 30, {}),
        ("craft-released", 200, {}),
        ("craft-released", 80, {"views": 2, "craft-released.learns": "queries"}),
        ("zip", 60, {"zip.batch": 4}),
        ("cbbt", 60, {"cbbt.directions": 9, "cbbt.batch": 4}),
        ("bar", 60, {"bar.batch": 4}),
        ("blackvip-se", 40, {"blackvip-se.batch": 4}),
        ("visual-prompt", 60, {}),
        ("bpt-vlm", 90, {}),
        ("sharpzo", 60, {"sharpzo.dim": 8, "sharpzo.popsize": 4}),
        ("linear-probe", 5, {}),
    ],
)
def test_the_time_includes_images_that_a_method_alters(
    vlm: OpenCLIP,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    budget: int,
    settings: dict,
) -> None:
    """The estimate in seconds is that of the images encoded, if each takes a second."""

    class OneSecond:
        image = 1.0

        def __init__(self, vlm: OpenCLIP) -> None:
            pass

        def context(self, n_classes: int) -> float:
            return 0.0

    monkeypatch.setattr("craft_zoo.benchmarks.cost_estimate._Speed", OneSecond)
    plan = {"methods": method, "budgets": budget, "shots": 1, "seeds": 1, "measured_on": "val"}
    runs = list(Plan.of(plan | {"settings": settings}).runs())
    seconds = estimate_costs(runs, vlm=vlm)["seconds"].item()
    encoded = 0
    encode = OpenCLIP.images

    def counting(self: OpenCLIP, images: Any, *rest: Any, **more: Any) -> Any:
        nonlocal encoded
        encoded += len(images)
        return encode(self, images, *rest, **more)

    monkeypatch.setattr(OpenCLIP, "images", counting)
    Bench(vlm, RunStore(tmp_path)).run(runs)
    assert 0.95 < seconds / encoded < 1.2, (seconds, encoded)


@pytest.mark.parametrize("method", ["bar", "visual-prompt"])
def test_steps_that_are_many_generations_apart_are_counted(method: str) -> None:
    """Methods that alter images report some 20 times, as measuring encodes all images anew."""
    steps = rehearse(method, "", CraftConfig(), budget=2400, n_classes=5, shots=1).steps
    assert 20 <= len(set(steps)) <= 24
    assert steps[-1] == 2400


def test_a_rehearsal_downloads_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """BlackVIP's own is ViT-MAE of timm, whose weights a dry run does not need."""
    monkeypatch.setattr("craft_zoo.local_features.towers.timm_model", None)
    given: dict[str, Any] = {"budget": 100, "n_classes": 3, "shots": 1}
    found = [rehearse(name, "", CraftConfig(), **given) for name in ("blackvip", "blackvip-se")]
    assert found[0] == found[1]
    assert found[0].alters


def test_a_dry_run_shows_all_its_numbers_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    grid = ["--method", "zero-shot", "--method", "prompt", "--seeds", "300", "--budget", "100000"]
    assert main(["bench", "--dry-run", "--price", "12.5", "--shots", "16", *grid]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert max(map(len, printed.splitlines()[:4])) <= 80
    lines = printed.splitlines()
    assert "  queries 30,000,000" in lines
    assert "  predictions 4,800,000,000" in lines
    [evaluation] = [line for line in lines if line.startswith("  evaluation")]
    asked = int(evaluation.rpartition(" ")[2].replace(",", ""))
    assert f"  price {12.5 * (4.8e9 + asked) / 1000:,.2f}" in lines
