"""Published accuracies and their comparison with measured ones in the report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from craft_zoo.benchmarks import (
    RunSpec,
    RunStore,
    read_results,
    write_config,
)
from craft_zoo.benchmarks.published import (
    MEAN,
    SOURCES,
    accuracies_for,
    published_accuracies,
)
from craft_zoo.benchmarks.report import write_report
from craft_zoo.benchmarks.store import Point
from craft_zoo.data import DatasetSpec, published_datasets


def point(queries: int, accuracy: float) -> Point:
    return Point(queries, accuracy, 1.0, 0.1, 10 * queries, 0, 100, 1.0)


def test_figures_are_of_known_data_sets_and_shares() -> None:
    table = published_accuracies()
    known = set(published_datasets())
    assert set(table["dataset"]) <= known | {MEAN}
    assert set(table["tested_on"]) - {""} <= known
    assert set(table["source"]) == set(SOURCES)
    assert table["accuracy"].between(0.03, 0.93).all()
    assert not table.duplicated(["model", "dataset", "tested_on", "method", "shots", "note"]).any()
    access = table.groupby("method")["access"].unique().map(list).to_dict()
    assert access == {
        "zero-shot": [""],
        **{name: ["black box"] for name in ("BBT", "CraFT", "SharpZO", "ZIP")},
        "CoOp": ["white box"],
        "TIMO": ["vectors"],
    }


def test_means_and_doubts_are_marked() -> None:
    table = published_accuracies()
    [doubtful] = table[table["note"] == "doubtful"].to_dict("records")
    assert (doubtful["dataset"], doubtful["method"], doubtful["shots"]) == ("sun397", "CraFT", 1)
    means = table[table["dataset"] == MEAN]
    assert means["note"].str.startswith("mean").all()
    printed = means[means["method"] == "ZIP"].set_index("note")["accuracy"]
    assert printed.to_dict() == {
        "mean as printed; model not known": pytest.approx(0.7057),
        "mean of its printed row; model not known": pytest.approx(0.6858),
    }
    assert means["queries"].isna().sum() == 6  # SharpZO's budgets are not known


@pytest.mark.parametrize(
    ("dataset", "shots", "method", "accuracy"),
    [  # ../shared/REFERENCE.md, three of its corners
        ("oxford_pets", 1, "BBT", 0.7450),
        ("ucf101", 16, "CraFT", 0.7305),
        ("imagenet", 16, "zero-shot", 0.5818),
    ],
)
def test_some_figures(dataset: str, shots: int, method: str, accuracy: float) -> None:
    table = accuracies_for(dataset, shots)
    assert len(table) == 3
    assert table.set_index("method")["accuracy"][method] == pytest.approx(accuracy)


def test_craft_gains_about_twelve_points_on_average() -> None:
    """Which is what the paper says of 16 shots, so a slip of many figures would show."""
    table = published_accuracies()
    mine = table[table["tested_on"] == ""]
    zero = mine[mine["method"] == "zero-shot"].set_index("dataset")["accuracy"]
    craft = mine[(mine["method"] == "CraFT") & (mine["shots"] == 16)].set_index("dataset")
    assert 100 * (craft["accuracy"] - zero).mean() == pytest.approx(12, abs=1.5)


def test_a_folder_is_none_of_the_published_data_sets() -> None:
    assert accuracies_for("folder:data/eurosat", 16).empty
    assert accuracies_for("eurosat@base", 16).empty
    assert len(accuracies_for("imagenet", 16, "imagenet-a")) == 4 * 3  # models, methods


def test_the_report_shows_them_beside_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("craft_zoo.benchmarks.report.figures._FORMATS", ())
    store, runs = RunStore(tmp_path), []
    for dataset, transfer in (("eurosat", ()), ("imagenet", ("imagenet-a", "digits"))):
        for seed in (1, 2):
            run = RunSpec(
                "RN50-quickgelu@openai",
                DatasetSpec(dataset),
                *("craft", "logit-gn", 16, seed, 8000),
                transfer=transfer,
            )
            tried = dict.fromkeys(transfer, 0.2 + seed / 10)
            store.save(run, [point(0, 0.3), point(8000, 0.6)], None, transfer=tried)
            runs.append(run)
    write_config(runs, tmp_path)
    page = write_report(read_results(tmp_path), tmp_path / "report", "T").read_text()
    assert 'id="published"' in page
    assert "CraFT, published" in page  # the cross on the curves, as the model is the same
    tables = tmp_path / "report" / "tables"
    beside = (tables / "published.csv").read_text()
    model = "RN50-quickgelu@openai"
    assert f"eurosat,16,CraFT,{model},75.3,craft (logit-gn),{model},60.0" in beside
    assert f'"imagenet, tried on imagenet-a",16,CraFT,{model},23.13,craft (logit-gn)' in beside
    others = (tables / "transfers.csv").read_text().splitlines()
    assert others[1:] == [
        "imagenet,imagenet-a,16,craft (logit-gn),35.0,2",
        "imagenet,digits,16,craft (logit-gn),35.0,2",
    ]


def test_each_measured_accuracy_has_its_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("craft_zoo.benchmarks.report.figures._FORMATS", ())
    store, accuracies = RunStore(tmp_path), {"craft-mini": 0.5, "RN50-quickgelu@openai": 0.6}
    for model, accuracy in accuracies.items():
        run = RunSpec(model, DatasetSpec("eurosat"), *("craft", "logit-gn", 16, 1, 8000))
        store.save(run, [point(0, 0.3), point(8000, accuracy)], None)
    write_report(read_results(tmp_path), tmp_path / "report", "T")
    beside = pd.read_csv(tmp_path / "report" / "tables" / "published.csv")
    found = dict(zip(beside["its model"], beside["its accuracy"] / 100, strict=True))
    assert found == pytest.approx(accuracies)
