"""Plans: the grids that files describe, and error messages for invalid files."""

from __future__ import annotations

from pathlib import Path

import pytest

from craft_zoo.benchmarks import Plan, RunStore, combine, cross, read_plan
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers import OptimizerError

YAML = """
datasets:
  - digits
  - {name: "folder:colours", classnames: names.txt}
methods: [zero-shot, craft]
optimizers: [logit-gn, cma]
shots: [1, 2]
seeds: 2
budgets: 100
settings: {intrinsic_dim: 20, scale: 2}
variants:
  no refiner: {method: prompt}
  few anchors: {method: craft-anchors, settings: {anchors: 16}}
"""
TOML = """
methods = ["zero-shot", "craft"]
optimizers = ["logit-gn", "cma"]
shots = [1, 2]
seeds = 2
budgets = 100
settings = {intrinsic_dim = 20, scale = 2}
[[datasets]]
name = "digits"
[[datasets]]
name = "folder:colours"
classnames = "names.txt"
[variants."no refiner"]
method = "prompt"
[variants."few anchors"]
method = "craft-anchors"
settings = {anchors = 16}
"""


@pytest.fixture
def folder(image_folder: Path) -> Path:
    (image_folder.parent / "names.txt").write_text(
        "red_square\tsquare\nGreenField\tfield\nblue-sky\tsky\n"
    )
    return image_folder.parent


def test_yaml_and_toml_say_the_same_from_wherever_they_are_read(folder: Path) -> None:
    plans = []
    for name, text in (("plan.yaml", YAML), ("plan.toml", TOML)):
        (folder / name).write_text(text)
        plans.append(Plan.of(read_plan(folder / name)))
    assert plans[0] == plans[1]
    runs = plans[0].runs()
    assert len(runs) == 2 * 2 * 2 * (1 + 2 + 2)
    assert set(runs.values()) == {"", "no refiner", "few anchors"}
    few = {run for run, name in runs.items() if name == "few anchors"}
    assert {run.config for run in few} == {CraftConfig(intrinsic_dim=20, scale=2.0, anchors=16)}
    assert {run.optimizer for run in few} == {"logit-gn"}
    assert {run.dataset.classnames for run in runs} == {None, str(folder / "names.txt")}


def test_the_defaults_are_the_commands(folder: Path) -> None:
    expected = cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(["zero-shot", "craft"], ["logit-gn"], CraftConfig()),
        shots=[16],
        seeds=[1, 2, 3],
        budgets=[8000],
    )
    assert list(Plan.of({}).runs()) == expected


def test_a_changed_plan_keeps_what_is_still_valid(folder: Path) -> None:
    plan = {"methods": ["craft", "anchors"], "seeds": 2}
    before = {run.identity for run in Plan.of(plan).runs()}
    more = {run.identity for run in Plan.of(plan | {"seeds": [1, 2, 5]}).runs()}
    assert before < more
    fewer_anchors = {run.identity for run in Plan.of(plan | {"settings": {"anchors": 9}}).runs()}
    assert {name for name in before if "-craft-" in name} <= fewer_anchors
    assert not {name for name in before if "-anchors-" in name} & fewer_anchors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metods: craft", "metods is no key of a plan: did you mean 'methods'?"),
        ("datasets: {nam: digits}", "datasets.0.nam is no key of a plan: did you mean 'name'?"),
        ("variants: {a: {settins: 1}}", "variants.a.settins is no key.*'settings'"),
        ("seeds: none", "seeds should be a valid tuple, not 'none'"),
        ("shots: [1, many]", "shots.1 should be a valid integer, not 'many'"),
        ("budgets: []", "budgets must hold at least one"),
        ("budgets: true", "budgets.0 should be a valid integer, not True"),
        ("budgets: 0", "the budget must be at least 1 query, not 0"),
        ("shots: [", "cannot be read .*line"),
        ("- a", "holds no keys"),
        ("methods: crft", "unknown method 'crft'"),
        ("datasets: folder:nowhere", "nowhere does not exist"),
        ("settings: {refiner: best}", "option 'refiner'.*convex or network"),
        ("settings: {hiden: 5}", "has no option 'hiden'"),
        ("variants: {a: {method: refine, optimizer: cma}}", "variant 'a'.*uses no optimizer"),
        ("variants: {a: {method: refine, settings: {anchors: 9}}}", "'a'.*does not read.* anchors"),
        ("variants: {a: {settings: {hidden: 9}}}", "'a'.*does not read the setting hidden"),
        ("variants: {a: {method: refine}, b: {method: refine}}", "'b' is the same as variant 'a'"),
        ("optimizers: cmaa", "unknown optimizer 'cmaa'"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, message: str) -> None:
    path = folder / "plan.yaml"
    path.write_text(text)
    with pytest.raises((CraftZooError, OptimizerError), match=message):
        Plan.of(read_plan(path), str(path)).runs()


def test_limits_are_compared_where_they_count() -> None:
    few = {"few": {"method": "anchors", "settings": {"anchors": 16}}}
    plan = {"methods": ["refine", "anchors"], "seeds": [1], "variants": few}
    runs = Plan.of(plan | {"per_image": [2, 5.5, 0]}).runs()
    labels = label_runs(runs, runs)
    assert [(run.method, run.config.per_image, labels[run]) for run in runs] == [
        ("refine", 0, "refine"),
        ("anchors", 2, "anchors, at most 2 an image"),
        ("anchors", 5.5, "anchors, at most 5.5 an image"),
        ("anchors", 0, "anchors"),
        ("anchors", 0, "few"),
    ]
    one = Plan.of(plan | {"per_image": 2})
    same = Plan.of(plan | {"settings": {"per_image": 2}})
    assert [run.identity for run in one.runs()] == [run.identity for run in same.runs()]
    for wrong in (0.5, float("nan"), float("inf")):
        with pytest.raises(CraftZooError, match=r"per_image must be at least 1, as .* or 0 for no"):
            Plan.of(plan | {"per_image": wrong}).runs()


def test_runs_of_before_a_setting_are_not_averaged_with_others() -> None:
    """A value that a run's identity leaves out is in its label, where others have another one."""
    variants = {
        name: {"method": "refine", "settings": settings}
        for name, settings in (
            ("before", {"discriminant": False}),
            ("local", {"local": "colours"}),
            ("prior", {"prior": "train"}),
        )
    }
    plan = {"methods": ["refine"], "seeds": [1], "variants": variants}
    runs = Plan.of(plan).runs()
    assert list(label_runs(runs).values()) == [
        "refine",
        "refine, discriminant=False",
        "refine, with colours",
        "refine, prior=train",
    ]


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_bench_takes_a_plan_and_changes_it(folder: Path, tmp_path: Path) -> None:
    plan, out = folder / "plan.yaml", tmp_path / "out"
    plan.write_text(
        "datasets: folder:colours\nmethods: [zero-shot, craft]\nshots: 2\nseeds: 1\n"
        "budgets: [20, 40]\nsettings: {intrinsic_dim: 20, anchors: 9, discriminant: false}\n"
        "variants:\n  anchored: {method: anchors}\n"
    )
    assert main(["bench", "--plan", str(plan), "--out", str(out), "--seeds", "2"]) == 0
    summary = (out / "summary.csv").read_text()
    assert "craft (logit-gn), 40 queries" in summary
    assert "anchored, 20 queries" in summary
    runs = len(list((out / "runs").glob("*/run.json")))
    assert runs == 2 * 2 * 3
    again = ["bench", "--plan", str(plan), "--out", str(out), "--seeds", "2"]
    assert main([*again, "--method", "refine", "--budget", "40", "--set", "anchors=9"]) == 0
    assert len(list(RunStore(out).folder.glob("runs/*/run.json"))) == runs + 2


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "repeats an earlier value: write it out"),
        ("x: &a {b: 1}\ny:\n  <<: *a\n", "repeats an earlier value"),
        ("seeds: 1000000000", "seeds must be at most 20,000, not 1000000000"),
        ("seeds: [1" + "0" * 30 + "]", "seeds.0 should be less than"),
        ("seeds: [-1]", "seeds.0 should be greater than or equal to 0"),
        ("seeds: 20000\nshots: [1, 2]", "the grid has 80,000 runs or more"),
        ("parts: {a: {seeds: 9000}, b: {seeds: 9000, shots: 1}}", "has 36,000 runs or more"),
        ("seeds: " + "9" * 5000, "cannot be read"),
        ("budgets: " + "9" * 400, "budgets.0 should be less than"),
        ("shots: 99999999999", "shots.0 should be less than"),
        ("settings: {intrinsic_dim: 1000000000}", "at most 1,000,000"),
        ("settings: {scale: .inf}", "at most 1,000,000"),
        ("datasets: " + "[" * 50_000, "nested too deeply"),
        ("settings: " + "{a: " * 900, "nested too deeply"),
        ("seeds: 1\nseeds: 2", "the key 'seeds' occurs twice"),
        ("settings: {scale: 1, scale: 2}", "the key 'scale' occurs twice"),
        ("seeds: !!int x", "the tag .* is not allowed in plans"),
        ("seeds: !!python/object/apply:os.system [x]", "the tag .* is not allowed in plans"),
        ("datasets: 2020-13-45", "cannot be read"),
        ("datasets: null", "datasets.0 should be"),
        ("datasets: [1]", "datasets.0 should be"),
        ("datasets: {name: 5}", "datasets.0.name should be a valid string, not 5"),
        ("methods: [1]", "methods.0 should be a valid string"),
        ("model: null", "model should be a valid string"),
        ("parts: {a: 1}", "parts.a should be a valid dictionary"),
        ("parts: [1]", "parts should be a valid dictionary"),
        ("variants: {a: [1]}", "variants.a should be"),
        ('model: "\\e[31m"', "a control character in"),
        ('datasets: "folder:\\0"', "a control character in"),
        ("? [a]\n: 1", "cannot be read"),
        ("#" * 200_000, "too many for a plan"),
        ("methods: [" + ",".join(["craft"] * 5000) + "]", "at most 1000 items"),
    ],
)
def test_a_plan_of_a_stranger_is_one_short_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(CraftZooError, match=message) as refused:
        Plan.of(read_plan(path), str(path)).runs(look=False)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [
        *(b"\xff\xfes", b"\0\1", b"x = " + b"[" * 50_000, b"a." * 20_000 + b"b = 1"),
        *(b"seeds = 1\nseeds = 2", b"seeds = 1979-05-27", b"datasets = 1"),
    ],
)
def test_so_is_one_in_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(CraftZooError):
        Plan.of(read_plan(path), str(path)).runs(look=False)


def test_a_byte_order_mark_is_no_part_of_a_plan(tmp_path: Path) -> None:
    for name, content in (("a.yaml", b"\xef\xbb\xbfseeds: 7"), ("a.toml", b"\xef\xbb\xbfseeds=7")):
        (tmp_path / name).write_bytes(content)
        assert read_plan(tmp_path / name) == {"seeds": 7}


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="cannot be read"):
        read_plan(tmp_path)


@pytest.mark.parametrize("more", [[], ["--quickgelu", "--model", "ViT-B-32"]])
def test_bench_says_what_a_part_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    (tmp_path / "plan.yaml").write_text("parts: {a: 1}")
    assert main(["bench", "--plan", str(tmp_path / "plan.yaml"), *more]) == 2
    assert "parts.a should be a valid dictionary" in capsys.readouterr().err
