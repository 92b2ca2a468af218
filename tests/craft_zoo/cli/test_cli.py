"""The command line: results, messages, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

from craft_zoo.cli import main
from craft_zoo.cli.main import build_parser

WaitFor = Callable[..., None]
TINY = [
    "--budget",
    "24",
    "--optimizer",
    "cma:popsize=8",
    "--shots",
    "2",
    "--set",
    "intrinsic_dim=16",
]


def command(*arguments: object) -> list[str]:
    return [str(argument) for argument in arguments]


@pytest.mark.usefixtures("tiny_craft_mini")
def test_bench_leaves_everything_that_it_promises(image_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    arguments = command(
        "bench",
        "--dataset",
        f"folder:{image_folder}",
        *TINY,
        "--seeds",
        2,
        "--out",
        out,
        "--method",
        "zero-shot",
        "--method",
        "prompt",
        "--method",
        "refine",
        "--method",
        "craft",
    )
    assert main(arguments) == 0
    curves, summary = (pd.read_csv(out / name) for name in ("curves.csv", "summary.csv"))
    assert set(curves["method"]) == {"zero-shot", "prompt", "refine", "craft"}
    craft = curves[curves["method"] == "craft"]
    assert craft.groupby("seed")["queries"].apply(list).tolist() == [[0, 1, 9, 17, 24]] * 2
    assert (craft["search_predictions"] == craft["queries"] * 6).all()
    assert (curves["queries"] <= 24).all()
    assert curves[curves["method"] == "zero-shot"]["queries"].tolist() == [0, 0]
    assert len(summary) == 4
    ends = craft.groupby("seed")["accuracy"].last()
    row = summary[summary["method"] == "craft"].iloc[0]
    assert row["accuracy"] == pytest.approx(ends.mean())
    assert np.isnan([row["low"], row["high"]]).all()  # two seeds: no interval, but each of them
    assert [float(each) for each in row["singles"].split()] == pytest.approx(list(ends), abs=1e-6)
    with Image.open(out / "curves.png") as image:
        assert image.width > 800
    assert "<svg" in (out / "curves.svg").read_text()
    config = json.loads((out / "config.json").read_text())
    assert config["runs"][-1]["config"]["intrinsic_dim"] == 16
    assert config["environment"]["packages"]["cma"]


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_the_same_command_makes_no_run_twice_and_the_same_curve_elsewhere(
    image_folder: Path, tmp_path: Path
) -> None:
    def bench(out: Path) -> pd.DataFrame:
        spec = f"folder:{image_folder}"
        assert main(command("bench", "--dataset", spec, *TINY, "--seeds", 1, "--out", out)) == 0
        return pd.read_csv(out / "curves.csv")

    first = bench(tmp_path / "a")
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("runs/*/run.json")}
    assert len(records) == 2
    again = bench(tmp_path / "a")
    assert {path: path.stat().st_mtime_ns for path in records} == records
    pd.testing.assert_frame_equal(first, again)
    elsewhere = bench(tmp_path / "b")
    pd.testing.assert_frame_equal(first.drop(columns="seconds"), elsewhere.drop(columns="seconds"))


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_curves_are_listed_by_the_area_under_them(
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as notebooks do, where no bar is to be drawn
    out = tmp_path / "bench"
    grid = ("--optimizer", "spsa", "--optimizer", "random:popsize=8", "--seeds", 2)
    spec = f"folder:{image_folder}"
    assert main(command("bench", "--dataset", spec, *TINY, *grid, "--out", out)) == 0
    summary = pd.read_csv(out / "summary.csv").sort_values("area", ascending=False, kind="stable")
    said = capsys.readouterr().out
    assert "\x1b" not in said
    places = [said.index(f"\n{label} ") for label in summary["label"]]
    assert places == sorted(places)
    for place, row in zip(places, summary.itertuples(), strict=True):
        line = said[place + 1 :].splitlines()[0]
        assert len(line) <= 80
        assert f" {100 * row.area:.1f} " in line


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_a_search_that_ends_early_is_reported(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Steps so small that nothing changes are converged, in pycma's eyes.
    arguments = command(
        *("bench", "--dataset", f"folder:{image_folder}", "--method", "prompt", "--shots", 2),
        *("--optimizer", "cma:popsize=4,sigma=1e-12", "--budget", 400, "--seeds", 1),
        *("--set", "intrinsic_dim=4", "--out", tmp_path / "bench"),
    )
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "of 400 queries (pycma has converged: tol" in said
    assert pd.read_csv(tmp_path / "bench" / "curves.csv")["queries"].max() < 400


@pytest.mark.usefixtures("tiny_craft_mini")
def test_tune_then_predict(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "colours.adapter"
    tiny = [value if value != "2" else "4" for value in TINY]
    assert main(command("tune", f"folder:{image_folder}", "--out", adapter, *tiny)) == 0
    assert "24 queries" in capsys.readouterr().out
    assert main(command("predict", adapter, image_folder / "test" / "GreenField")) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["image"]).name for row in rows] == ["00.png", "01.png", "02.png"]
    assert {row["class"] for row in rows} <= {"green field", "blue sky", "red square"}
    assert all(0 < float(row["probability"]) <= 1 for row in rows)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_vit_from_a_local_file_takes_the_same_path(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "vit.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), weights)
    model = ["--model", "ViT-S-32-alt", "--pretrained", str(weights)]
    out, adapter = tmp_path / "bench", tmp_path / "vit.adapter"
    spec = f"folder:{image_folder}"
    assert main(command("bench", "--dataset", spec, *TINY, "--seeds", 1, "--out", out, *model)) == 0
    assert pd.read_csv(out / "curves.csv")["model"].unique().tolist() == [f"ViT-S-32-alt@{weights}"]
    assert main(command("tune", spec, "--out", adapter, *TINY, *model)) == 0
    capsys.readouterr()
    assert main(command("predict", adapter, image_folder / "test" / "blue-sky")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    image = image_folder / "test" / "blue-sky" / "00.png"
    assert main(command("predict", adapter, image, "--model", "craft-mini")) == 2
    assert "made for ViT-S-32-alt" in capsys.readouterr().err


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["optimizers"], ["cma", "spsa-gc", "vkd-cma", "nevergrad"]),
        (["optimizers", "cma"], ["popsize", "40", "candidates a generation", "auto or csa or tpa"]),
        (["datasets"], ["digits", "folder"]),
        (["methods"], ["zero-shot", "prompt", "refine", "craft"]),
    ):
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert all(word in output for word in words)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("bench", "tune", "predict", "optimizers", "datasets", "methods"):
        with pytest.raises(SystemExit) as stopped:
            build_parser().parse_args([name, "--help"])
        assert stopped.value.code == 0
        assert f"craft-zoo {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--optimizer", "cmaa"], "unknown optimizer 'cmaa'"),
        (["bench", "--optimizer", "cma:popsize=x"], "must be int, not 'x'"),
        (["bench", "--method", "crafty"], "unknown method 'crafty'"),
        (["bench", "--dataset", "imagenett"], "unknown data set 'imagenett'"),
        (["bench", "--dataset", "folder:/nowhere"], "/nowhere does not exist"),
        (["bench", "--budget", "0"], "budget must be at least 1"),
        (
            ["bench", "--budget", "20", "--optimizer", "cma"],
            "smaller than one generation of 'cma' (40)",
        ),
        (["bench", "--shots", "0"], "shots must be a whole number, at least 1, not 0"),
        (["bench", "--shots", "1000"], "fewer than 1000 shots"),
        (["bench", "--seeds", "0"], "at least 1 seed"),
        (["bench", "--set", "scal=1"], "no option 'scal'"),
        (["bench", "--set", "scale"], "write option=value"),
        (["bench", "--set", "lr=-1"], "setting lr must be above 0"),
        (["bench", "--model", "ViT-B-33"], "unknown model 'ViT-B-33'"),
        (["bench", "--model", "ViT-B-32"], "add pretrained (--pretrained)"),
        (["bench", "--model", "ViT-B-32", "--pretrained", "openai"], "reaches the hub"),
        (["bench", "--out", "/proc/nowhere"], "/proc/nowhere cannot be written ("),
        (["tune", "digits", "--out", "/nowhere/a"], "folder /nowhere does not exist"),
        (
            ["tune", "digits", "--out", "a", "--budget", "3", "--optimizer", "cma"],
            "smaller than one generation",
        ),
        (["predict", "/nowhere/a", "b.jpg"], "/nowhere/a does not exist"),
        (["optimizers", "cmaa"], "unknown optimizer 'cmaa'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("craft-zoo: ")
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("**/*.json"))
    assert not list(tmp_path.glob("a*"))


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_bad_images_are_named(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ["bench", "--dataset", f"folder:{image_folder}", *TINY, "--out", str(tmp_path / "o")]
    bad = image_folder / "test" / "blue-sky" / "01.png"
    bad.write_bytes(bad.read_bytes()[:100])
    assert main(spec) == 2
    assert f"image {bad} cannot be read" in capsys.readouterr().err
    shutil.rmtree(image_folder / "test" / "blue-sky")
    assert main(spec) == 2
    assert "blue-sky is missing" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_killed_bench_goes_on_where_it_was(
    image_folder: Path, tmp_path: Path, start_command: Callable[..., Any]
) -> None:
    out = tmp_path / "bench"
    arguments = command(
        "bench",
        "--dataset",
        f"folder:{image_folder}",
        "--seeds",
        2,
        "--out",
        out,
        "--shots",
        4,
        "--budget",
        80,
        "--optimizer",
        "cma:popsize=8",
        "--set",
        "intrinsic_dim=16",
    )
    killed = start_command(arguments, killed_after=("craft_zoo.benchmarks.store.RunStore.save", 3))
    killed.process.join()
    kept = {path: path.read_bytes() for path in out.glob("runs/*/run.json")}
    assert len(kept) == 3, killed.errors.read_text()
    assert not (out / "summary.csv").exists()
    assert main(arguments) == 0
    assert {path: path.read_bytes() for path in kept} == kept
    curves = pd.read_csv(out / "curves.csv")
    assert curves[curves["method"] == "craft"].groupby("seed")["queries"].max().tolist() == [80] * 2


def test_a_killed_tune_goes_on_where_it_was(
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    start_command: Callable[..., Any],
) -> None:
    def arguments(out: Path) -> list[str]:
        return command(
            *("tune", f"folder:{image_folder}", "--out", out, "--shots", 4, "--budget", 80),
            *("--optimizer", "cma:popsize=8", "--set", "intrinsic_dim=16", "--in-flight", 1),
            *("--threads", 1),  # sums on another number of threads are rounded otherwise
        )

    out = tmp_path / "colours.adapter"
    journal = tmp_path / "colours.adapter.journal"
    killed_after = ("craft_zoo.blackbox.journal.Journal.keep", 37)
    killed = start_command(arguments(out), killed_after=killed_after)
    killed.process.join()
    assert journal.exists()
    assert not out.exists()
    assert main(arguments(out)) == 0
    assert "Continuing" in capsys.readouterr().out
    assert main(arguments(tmp_path / "whole.adapter")) == 0
    assert "Continuing" not in capsys.readouterr().out
    assert out.read_bytes() == (tmp_path / "whole.adapter").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} >= {"colours.adapter", "whole.adapter"}
    assert not list(tmp_path.glob("*.journal*"))


def test_ctrl_c_says_what_is_kept(
    image_folder: Path, tmp_path: Path, start_command: Callable[..., Any]
) -> None:
    out = tmp_path / "bench"
    arguments = command(
        *("bench", "--dataset", f"folder:{image_folder}", "--out", out, "--shots", 4),
        *("--budget", 100_000, "--set", "intrinsic_dim=16"),
    )
    interrupted = start_command(arguments)
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/*/run.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(interrupted.process.pid, signal.SIGINT)
    interrupted.process.join(60)
    assert interrupted.process.exitcode == 130
    assert "rerun the same command to continue" in " ".join(interrupted.output.read_text().split())
    assert "Traceback" not in interrupted.errors.read_text()


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_a_broken_record_is_named(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench"
    spec = [
        "bench",
        "--dataset",
        f"folder:{image_folder}",
        *TINY,
        "--seeds",
        "1",
        "--out",
        str(out),
    ]
    assert main(spec) == 0
    record = next(out.glob("runs/*craft*/run.json"))
    record.write_text(record.read_text()[:50])
    capsys.readouterr()
    assert main(spec) == 2
    assert f"the record {record} cannot be read" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_numpys_global_state_is_left_alone(image_folder: Path, tmp_path: Path) -> None:
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    spec = ["bench", "--dataset", f"folder:{image_folder}", *TINY, "--seeds", "1"]
    assert main([*spec, "--out", str(tmp_path / "bench")]) == 0
    assert np.array_equal(np.random.get_state()[1], before)
