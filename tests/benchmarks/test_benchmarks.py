"""Grids, statistics, plots and the store, on artificial curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from craft_zoo.adapter import Adapter
from craft_zoo.benchmarks import (
    Point,
    RunSpec,
    RunStore,
    aggregate,
    average_curves,
    combine,
    cross,
    few_seeds_warning,
    score_table,
    summarize,
    tidy,
)
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.results import read_results, write_config
from craft_zoo.benchmarks.statistics import area_under_curve, mean_interval
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.errors import CraftZooError
from craft_zoo.records import sealed
from craft_zoo.solution import Solution

RUN = RunSpec("craft-mini", DatasetSpec("digits"), "craft", "cma", 16, 1, 8000, CraftConfig())


def point(queries: int, accuracy: float) -> Point:
    return Point(queries, accuracy, 0.9, 1.5, queries * 160, 0, 1000, queries / 100)


def curves() -> dict[RunSpec, list[Point]]:
    """Two seeds of craft, measured at different queries, and one of zero-shot each."""
    zero = replace(RUN, method="zero-shot", optimizer="none")
    return {
        RUN: [point(40, 0.2), point(80, 0.4), point(120, 0.6)],
        replace(RUN, seed=2): [point(40, 0.4), point(100, 0.7), point(120, 0.8)],
        zero: [point(0, 0.1)],
        replace(zero, seed=2): [point(0, 0.1)],
    }


def grid(
    *,
    optimizers: Sequence[str] = ("cma", "spsa"),
    config: CraftConfig | None = None,
    **changes: Any,
) -> list[RunSpec]:
    arguments: dict = {"shots": [1, 16], "seeds": [1, 2, 3], "budgets": [100]}
    variants = combine(["zero-shot", "craft"], optimizers, config or CraftConfig())
    return cross("craft-mini", [DatasetSpec("digits")], variants, **arguments | changes)


def test_methods_without_an_optimizer_are_run_once() -> None:
    runs = grid()
    assert len(runs) == len(set(runs)) == 2 * 3 * (1 + 2)
    assert {run.optimizer for run in runs if run.method == "zero-shot"} == {"none"}


def test_repeated_arguments_do_not_repeat_runs() -> None:
    assert grid(optimizers=["cma", "cma", "spsa"]) == grid()


def test_identities_tell_runs_apart_and_stay() -> None:
    runs = [*grid(), *grid(budgets=[200]), *grid(config=CraftConfig(scale=2.0))]
    zero_shots = len([run for run in grid() if run.method == "zero-shot"])  # without a scale
    assert len({run.identity for run in runs}) == len(runs) - zero_shots
    assert RUN.identity == replace(RUN).identity
    assert RUN.identity.startswith("digits-craft-cma-16shots-seed1-")


def test_mean_interval_is_the_bootstraps_from_five_seeds_on() -> None:
    values = np.array([0.5, 0.6, 0.65, 0.7, 0.58, 0.61])
    mean, low, high = mean_interval(values)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.004)
    for seeds in range(1, 5):
        assert np.isnan(mean_interval(values[:seeds])[1:]).all()
    assert np.isfinite(mean_interval(values[:5])[1:]).all()
    # Of several points of a curve at once, the same.
    _, lows, highs = mean_interval(np.stack([values, values / 2]))
    assert (lows[0], highs[1]) == pytest.approx((low, high / 2))


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_one_number_has_one_spread_everywhere(seeds: int) -> None:
    """A table of one task and one over all tasks, where there is only that one."""
    made = {
        replace(RUN, seed=seed): [point(0, 0.1), point(120, 0.6 + 0.013 * (seed % 3))]
        for seed in range(1, seeds + 1)
    }
    points = tidy(made)
    (one,) = summarize(points).itertuples()
    (over_all,) = aggregate(score_table(points)).itertuples()
    curve = average_curves(points).iloc[-1]
    assert one.singles == over_all.mean_singles == curve["singles"]
    if seeds < 5:
        assert np.isnan([one.low, over_all.mean_low, curve["low"]]).all()
        assert f"{5}" in few_seeds_warning(points)
    else:
        assert one.low < one.accuracy < one.high
        assert (one.low, one.high) == pytest.approx((over_all.mean_low, over_all.mean_high))
        assert (one.low, one.high) == pytest.approx((curve["low"], curve["high"]))
        assert few_seeds_warning(points) == ""


def test_between_its_points_a_seed_keeps_its_last_accuracy() -> None:
    average = average_curves(tidy(curves()))
    craft = average[average["label"] == "craft (cma)"].set_index("queries")["accuracy"]
    assert craft.to_dict() == pytest.approx({40: 0.3, 80: 0.4, 100: 0.55, 120: 0.7})


def test_summary_is_of_the_last_points() -> None:
    summary = summarize(tidy(curves())).set_index("label")
    craft = summary.loc["craft (cma)"]
    assert craft["accuracy"] == pytest.approx(0.7)
    assert craft["seeds"] == 2
    assert craft["queries"] == 120
    assert craft["search_predictions"] == 120 * 160
    assert summary.loc["zero-shot", "accuracy"] == pytest.approx(0.1)


def area_of(queries: list[int], accuracy: list[float], budget: int) -> float:
    curve = pd.DataFrame({"queries": queries, "accuracy": accuracy, "budget": budget})
    return area_under_curve(curve)


def test_area_is_the_mean_accuracy_over_the_queries() -> None:
    area = area_of([0, 40, 100], [0.1, 0.5, 0.7], 200)
    assert area == pytest.approx((40 * 0.1 + 60 * 0.5 + 100 * 0.7) / 200)
    assert area_of([1], [0.6], 100) == pytest.approx(0.6)
    summary = summarize(tidy(curves())).set_index("label")
    first = (40 * 0.2 + 40 * 0.2 + 40 * 0.4 + (RUN.budget - 120) * 0.6) / RUN.budget
    second = (40 * 0.4 + 60 * 0.4 + 20 * 0.7 + (RUN.budget - 120) * 0.8) / RUN.budget
    assert summary.loc["craft (cma)", "area"] == pytest.approx((first + second) / 2)
    assert summary.loc["zero-shot", "area"] == pytest.approx(0.1)


@settings(max_examples=50, deadline=None)
@given(
    curve=st.dictionaries(st.integers(1, 99), st.floats(0, 1), min_size=1, max_size=20),
    start=st.floats(0, 1),
)
def test_area_is_that_of_the_curve_sampled_at_every_query(
    curve: dict[int, float], start: float
) -> None:
    measured = {0: start, **dict(sorted(curve.items()))}
    deployed = [measured[max(q for q in measured if q <= i)] for i in range(100)]
    area = area_of(list(measured), list(measured.values()), 100)
    assert area == pytest.approx(np.mean(deployed))


def test_tidy_has_a_row_a_point() -> None:
    points = tidy(curves())
    assert len(points) == 8
    assert {"dataset", "method", "optimizer", "shots", "seed", "queries", "accuracy"} <= set(points)


def test_the_plot_shows_what_was_measured(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    files = plot_curves(average_curves(tidy(curves())), tmp_path)
    assert [file.name for file in files] == ["curves.png", "curves.svg"]
    first = files[1].read_bytes()
    plot_curves(average_curves(tidy(curves())), tmp_path)
    assert files[1].read_bytes() == first
    assert plt.get_fignums() == before


def test_plotted_lines_are_the_averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    drawn = {}
    monkeypatch.setattr(plt, "close", lambda figure: drawn.setdefault("axis", figure.axes[0]))
    plot_curves(average_curves(tidy(curves())), tmp_path)
    axis = drawn["axis"]
    *singles, zero, craft = sorted(
        axis.get_lines(), key=lambda line: (line.get_linewidth(), len(line.get_xdata()))
    )
    ends = [line.get_ydata()[-1] for line in singles]
    assert ends == pytest.approx([60, 80])  # two seeds: no band, but each of them
    assert not axis.collections
    assert list(craft.get_xdata()) == [40, 80, 100, 120]
    assert list(craft.get_ydata()) == pytest.approx([30, 40, 55, 70])
    assert list(zero.get_ydata()) == pytest.approx([10, 10])
    labels = [text.get_text() for text in axis.texts]
    assert labels == ["zero-shot  10.0", "craft (cma)  70.0"]
    assert axis.get_xlim() == (0, 120)


def adapter() -> Adapter:
    return Adapter(Solution(np.zeros((2, 3), np.float32)), ("a", "b"), "craft-mini", (0.0,))


def test_a_saved_run_is_found_again_and_no_other(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "out")
    points = [point(40, 0.2), point(80, 0.4)]
    assert store.load(RUN) is None
    store.save(RUN, points, adapter())
    assert RunStore(tmp_path / "out").load(RUN) == points
    assert store.load(replace(RUN, seed=2)) is None
    folder = tmp_path / "out" / "runs" / RUN.identity
    assert sorted(file.name for file in folder.iterdir()) == ["adapter.safetensors", "run.json"]
    record = json.loads((folder / "run.json").read_text())
    assert record["run"]["optimizer"] == "cma"
    assert record["environment"]["packages"]["torch"]


def test_a_run_without_its_record_counts_as_not_run(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(RUN, [point(40, 0.2)], adapter())
    (tmp_path / "runs" / RUN.identity / "run.json").unlink()
    assert store.load(RUN) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"points": [{"queries": 1}]}'])
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    store = RunStore(tmp_path)
    store.save(RUN, [point(40, 0.2)], adapter())
    (tmp_path / "runs" / RUN.identity / "run.json").write_text(text)
    with pytest.raises(CraftZooError, match="remove its folder"):
        store.load(RUN)


def test_a_broken_record_leaves_the_others_readable(tmp_path: Path) -> None:
    store, other = RunStore(tmp_path), replace(RUN, seed=2)
    for run in (RUN, other):
        store.save(run, [point(40, 0.2)], adapter())
    records, problems = store.read_all()
    assert {run: record.points for run, record in records.items()} == {
        RUN: [point(40, 0.2)],
        other: [point(40, 0.2)],
    }
    assert not problems
    broken = tmp_path / "runs" / RUN.identity / "run.json"
    broken.write_text(broken.read_text()[:80])
    curves, problems = store.read_all()
    assert list(curves) == [other]
    assert len(problems) == 1
    assert str(broken) in problems[0]


def test_runs_that_differ_have_different_names() -> None:
    other = replace(RUN, config=CraftConfig(scale=2.0))
    labels = label_runs([RUN, replace(RUN, seed=2), other, replace(other, budget=90)])
    assert list(labels.values()) == [
        "craft (cma), 8,000 queries",
        "craft (cma), 8,000 queries",
        "craft (cma), 8,000 queries, scale=2.0",
        "craft (cma), 90 queries, scale=2.0",
    ]
    assert label_runs([RUN, one := replace(RUN, budget=1)])[one] == "craft (cma), 1 query"
    assert label_runs([RUN, other], {other: "small"}) == {RUN: "craft (cma)", other: "small"}
    # A budget for each number of shots or data set is no other method.
    few = replace(RUN, shots=RUN.shots + 1, budget=90)
    elsewhere = replace(RUN, dataset=DatasetSpec("folder:elsewhere"), budget=20)
    assert set(label_runs([RUN, few, elsewhere]).values()) == {"craft (cma)"}
    # A setting that the method does not look at makes no difference.
    zero = replace(RUN, method="zero-shot", optimizer="none")
    same = label_runs([zero, replace(zero, config=CraftConfig(scale=2.0))])
    assert set(same.values()) == {"zero-shot"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CraftZooError, match=r"choose another folder \(--out\)"):
        RunStore(tmp_path / "file")


def test_frames_survive_csv(tmp_path: Path) -> None:
    points = tidy(curves())
    points.to_csv(tmp_path / "curves.csv", index=False)
    read = pd.read_csv(tmp_path / "curves.csv", keep_default_na=False)
    assert read["optimizer"].unique().tolist() == ["cma", "none"]


def test_tracks_and_references_are_told_apart(tmp_path: Path) -> None:
    """Anchors' methods are a panel of their own; white-box references are level lines in both."""
    points = tidy(curves() | {replace(RUN, optimizer="spsa"): [point(40, 0.3), point(120, 0.7)]})
    last = points["label"].iloc[-1]
    points.loc[points["label"] == last, "image_predictions"] = 3.5
    average = average_curves(points)
    assert set(average[average["label"] == last]["track"]) == {"anchors"}
    assert set(average[average["label"] != last]["track"]) == {"one prediction"}
    plain, _ = plot_curves(average_curves(tidy(curves())), tmp_path)
    with Image.open(plain) as image:
        width = image.width
    split, _ = plot_curves(average, tmp_path)
    with Image.open(split) as image:
        assert image.width > 1.5 * width
    summary = summarize(points)
    assert summary.set_index("label")["image_predictions"][last] == 3.5


def test_vectors_and_local_features_have_tracks_of_their_own() -> None:
    alone = replace(RUN, method="local", optimizer="none")
    beside = replace(RUN, config=CraftConfig(local="hog"))
    sold = replace(alone, method="vectors")
    more = {run: [point(0, 0.5)] for run in (alone, beside, sold)}
    average = average_curves(tidy(curves() | more))
    assert dict(zip(average["label"], average["track"], strict=True)) == {
        "craft (cma)": "one prediction",
        "zero-shot": "one prediction",
        "local": "local features",
        "craft (cma), with hog": "local features",
        "vectors": "vectors",
    }


def record_of(folder: Path) -> Path:
    RunStore(folder).save(RUN, [point(0, 0.2), point(40, 0.4)], None, transfer={"digits": 0.5})
    return folder / "runs" / RUN.identity / "run.json"


@settings(max_examples=80, deadline=None, derandomize=True)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_no_other_result(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    path, store = record_of(folder), RunStore(folder)
    before = store.read_all()
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    records, problems = store.read_all()
    if problems:
        assert str(path) in problems[0]
        assert "remove its folder to run it again" in problems[0]
    else:  # white space
        assert (records, problems) == before


def test_a_record_that_does_not_match_its_checksum_is_named(tmp_path: Path) -> None:
    path = record_of(tmp_path)
    path.write_text(path.read_text().replace("0.4", "0.9", 1))
    with pytest.raises(CraftZooError, match="does not match its checksum: remove its folder"):
        RunStore(tmp_path).load(RUN)


def test_records_of_before_are_read_without_a_checksum(tmp_path: Path) -> None:
    path = record_of(tmp_path)
    record = json.loads(path.read_text())
    for name in ("checksum", "transfer", "lost"):
        del record[name]
        path.write_text(json.dumps(record))
        assert RunStore(tmp_path).load(RUN) == [point(0, 0.2), point(40, 0.4)]


def test_unknown_losses_are_null_and_were_nan(tmp_path: Path) -> None:
    unknown = replace(point(0, 0.2), loss=float("nan"), train_accuracy=float("nan"))
    RunStore(tmp_path).save(RUN, [unknown], None)
    path = tmp_path / "runs" / RUN.identity / "run.json"
    text = path.read_text()
    assert "NaN" not in text
    [stored] = json.loads(text)["points"]
    assert stored["loss"] is stored["train_accuracy"] is None
    before = json.loads(text)
    before["points"][0] |= {"loss": float("nan"), "train_accuracy": float("nan")}
    for content in (text, sealed(before)):
        path.write_text(content)
        [read] = RunStore(tmp_path).load(RUN) or []
        assert isinstance(read.loss, float)
        assert np.isnan([read.loss, read.train_accuracy]).all()
        assert replace(read, loss=1.0, train_accuracy=1.0) == replace(
            unknown, loss=1.0, train_accuracy=1.0
        )


@pytest.mark.parametrize(
    "change",
    [
        {"points": [{}]},
        {"points": []},
        {"points": [[]]},
        {"points": [{"queries": "1"}]},
        {"accuracy": float("nan")},
        {"accuracy": 10**400},
        {"accuracy": "0.5"},
        {"queries": 10**400},
        {"queries": -1},
        {"queries": 1.5},
        {"seconds": float("inf")},
        {"image_predictions": None},
        {"run": 5},
        {"run": {}},
        {"seed": "1"},
        {"shots": 10**400},
        {"config": [1]},
        {"source": {"root": 5}},
        {"transfer": [5]},
        {"surplus": 1},
        {"environment": None},
    ],
)
def test_a_record_of_a_stranger_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = record_of(tmp_path)
    record = json.loads(path.read_text())
    del record["checksum"]
    (name,) = change
    holder = record
    if name in record["points"][0]:
        holder = record["points"][0]
    elif name in record["run"] and name != "transfer":
        holder = record["run"]
    holder |= change
    path.write_text(json.dumps(record))
    with pytest.raises(CraftZooError, match=r"cannot be read .*remove its folder"):
        RunStore(tmp_path).load(RUN)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"\0" * 100, b" " * 2**23])
def test_a_record_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = record_of(tmp_path)
    path.write_bytes(content)
    with pytest.raises(CraftZooError, match=str(path)):
        RunStore(tmp_path).load(RUN)


@pytest.mark.parametrize(
    "change",
    [
        *({"runs": 5}, {"runs": [5]}, {"runs": [{}]}, {"runs": None}, {"environment": []}),
        *({"environment": {"packages": [1]}}, {"surplus": 1}, {"checksum": "0"}),
    ],
)
def test_a_configuration_of_a_stranger_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    record_of(tmp_path)
    write_config([RUN], tmp_path)
    assert list(read_results(tmp_path).curves) == [RUN]
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["checksum"]
    path.write_text(json.dumps(config | change))
    with pytest.raises(CraftZooError, match=r"config\.json cannot be read"):
        read_results(tmp_path)


def test_files_of_a_folder_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = record_of(tmp_path)
    path.write_bytes(bytes(2**22 + 1))
    _, [problem] = RunStore(tmp_path).read_all()
    assert problem.startswith(f"the record {path} cannot be read (")
    assert problem.endswith("remove its folder to run it again")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CraftZooError, match=r"config\.json cannot be read .*: remove it"):
        read_results(tmp_path)


def test_the_studys_archive_is_read() -> None:
    results = read_results(
        Path(__file__).parents[2] / "docs" / "results" / "study" / "records.tar.xz"
    )
    assert not results.broken
    assert not results.missing
    assert len(results.curves) > 100
