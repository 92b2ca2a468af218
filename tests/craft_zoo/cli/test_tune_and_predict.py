"""``tune`` and ``predict``: checks, messages, and the files that they write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import craft_zoo as cz
from craft_zoo.cli.main import main
from craft_zoo.data import Dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.openclip import OpenCLIP

REFINE = ("--method", "refine", "--shots", "4")


def command(*words: object) -> list[str]:
    return [str(word) for word in words]


@pytest.fixture
def adapter(vlm: OpenCLIP, image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "colours.adapter"
    task = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=4, seed=1)
    cz.tune(vlm, task, method="zero-shot", budget=1).adapter.save(out)
    return out


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_an_adapter_is_not_replaced_unasked(
    adapter: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = adapter.read_bytes()
    again = command("tune", f"folder:{image_folder}", "--out", adapter, *REFINE)
    assert main(again) == 2
    assert "--force" in capsys.readouterr().err
    assert adapter.read_bytes() == before
    assert main([*again, "--force"]) == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--method", "crfat"), "did you mean 'craft'"),
        (("--method", "linear-probe"), "cannot be deployed"),
        (("--optimizer", "cmma"), "did you mean 'cma'"),
        (("--optimizer", "cma:popsize=many"), "popsize"),
        (("--method", "hard", "--optimizer", "cma"), "choices of words"),
        (("--budget", "0"), "budget must be a whole number, at least 1"),
        (("--out", "/nowhere/a.adapter"), "/nowhere does not exist"),
        (("--out", "/"), "is a folder"),
    ],
)
def test_mistakes_are_found_before_anything_is_asked(
    more: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    image_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "a.adapter"
    arguments = command("tune", f"folder:{image_folder}", "--out", out, "--shots", 4, *more)
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [image_folder]


def test_a_dry_run_says_the_cost_and_writes_nothing(
    tmp_path: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command("tune", f"folder:{image_folder}", "--out", tmp_path / "a", "--shots", 4)
    arguments += command("--budget", 50, "--price", 2, "--estimate", "none", "--dry-run")
    assert main(arguments) == 0
    assert (
        said(capsys) == "At most 50 queries (600 predictions, and 8 for canaries), a price of 1.22"
    )
    assert list(tmp_path.iterdir()) == [image_folder]


def test_a_run_says_what_it_may_cost_and_did_cost_and_how_good_it_is(
    tmp_path: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command("tune", f"folder:{image_folder}", "--out", tmp_path / "a", *REFINE)
    assert main(arguments) == 0
    words = said(capsys)
    assert words.startswith("At most 1 query (12 predictions, and 8 for canaries)")
    assert "Training accuracy, of the 12 images that it was fitted to: " in words
    assert "Accuracy on new images, an estimate: " in words
    assert "cross-validated on the 12 training images, in 4 parts" in words
    assert "zero-shot" in words
    assert "after 1 query (12 predictions, and 8 for canaries)" in words


def test_images_of_another_class_than_their_label_are_named(
    tmp_path: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = {"red_square": (200, 30, 30), "GreenField": (30, 180, 40), "blue-sky": (40, 60, 220)}
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        for number in range(10, 18):
            noise = rng.integers(-60, 60, (40, 48, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(image_folder / "train" / name / f"{number}.png")
    wrong = image_folder / "train" / "blue-sky" / "17.png"
    (image_folder / "train" / "red_square" / "17.png").rename(wrong)
    arguments = command("tune", f"folder:{image_folder}", "--out", tmp_path / "a", "--method")
    assert main([*arguments, "refine", "--shots", "12", "--fewer", "all"]) == 0
    words = said(capsys)
    named = words.partition("these training images have the right labels: ")[2]
    assert named.startswith(f"{wrong}: blue sky, or red square (")
    assert named.count(".png") == 1
    wrong.unlink()
    assert main([*arguments, "refine", "--shots", "11", "--force"]) == 0
    assert "right labels" not in said(capsys)


@pytest.mark.parametrize("estimate", ["auto", "none"])
def test_on_a_terminal_a_run_ends_with_a_panel(
    estimate: str, tmp_path: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(width=100, force_terminal=True, record=True, markup=False, file=io.StringIO())
    monkeypatch.setattr("craft_zoo.cli.tune.open_console", lambda: screen)
    out = tmp_path / "a b"
    arguments = command("tune", f"folder:{image_folder}", "--out", out, *REFINE)
    assert main([*arguments, "--estimate", estimate]) == 0
    panel = " ".join(screen.export_text().partition("╭─")[2].replace("│", " ").split())
    assert ("zero-shot" in panel) == ("→ adapted" in panel) == (estimate == "auto")
    assert "1 query (12 predictions, and 8 for canaries)" in panel
    assert "measure craft-zoo evaluate '" in panel
    assert "use craft-zoo predict '" in panel


def test_a_whole_data_set_is_no_task(vlm: Any, image_folder: Path) -> None:
    dataset = cz.load_dataset(f"folder:{image_folder}")
    with pytest.raises(CraftZooError, match="few_shot"):
        cz.tune(vlm, dataset)  # type: ignore[arg-type]
    task = cz.few_shot(dataset, shots=2, seed=1)
    with pytest.raises(CraftZooError, match="vlm must be a VLM"):
        cz.tune("craft-mini", task)  # type: ignore[arg-type]
    with pytest.raises(CraftZooError, match="budget must be a whole number"):
        cz.tune(vlm, task, budget=0.5)  # type: ignore[arg-type]


def test_representations_are_one_short_line(vlm: Any, image_folder: Path) -> None:
    dataset: Dataset = cz.load_dataset(f"folder:{image_folder}")
    task = cz.few_shot(dataset, shots=2, seed=1)
    tuned = cz.tune(vlm, task, method="refine", budget=1)
    for thing in (dataset, task, task.train, tuned.adapter, tuned.meter, tuned):
        assert len(repr(thing)) < 250
        assert "\n" not in repr(thing)
    assert "3 classes" in repr(dataset)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_images_are_answered_in_the_order_given_and_below_folders(
    adapter: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, first = sorted((image_folder / "test").rglob("*.png"))[-1], image_folder / "test"
    assert main(command("predict", adapter, last, first, last)) == 0
    images = [row["image"] for row in rows_of(capsys.readouterr().out)]
    below = sorted(str(path) for path in first.rglob("*.png"))
    assert images[0] == images[-1] == str(last)
    assert sorted(images[1:-1]) == below


def test_a_broken_image_costs_its_own_row(
    adapter: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = next((image_folder / "test").rglob("*.png"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(sound.read_bytes()[:40])
    arguments = command("predict", adapter, sound, broken, tmp_path / "missing.png", sound)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert [row["image"] for row in rows_of(output.out)] == [str(sound)] * 2
    assert "broken.png" in output.err
    assert "missing.png" in output.err
    assert "2 of 4 images skipped" in output.err
    assert main([*arguments, "--skip-bad"]) == 0
    assert "2 of 4 images skipped" in capsys.readouterr().err


def test_nothing_is_written_where_no_image_can_be_read(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert main(command("predict", adapter, tmp_path / "a.png", "--out", out)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "none of 1 images can be read" in output.err
    assert not out.exists()


def test_files_of_rows(adapter: Path, tmp_path: Path) -> None:
    image = tmp_path / "doubtful.png"
    Image.new("RGB", (32, 32), (120, 110, 100)).save(image)
    table, lines = tmp_path / "a.csv", tmp_path / "a.jsonl"
    assert main(command("predict", adapter, image, "--top-k", 3, "--out", table)) == 0
    (row,) = rows_of(table.read_text(encoding="utf-8"))
    shares = [float(row[name]) for name in ("probability", "probability_2", "probability_3")]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=2e-4)
    assert main(command("predict", adapter, image, "--threshold", 1, "--out", lines)) == 0
    about = json.loads(lines.read_text(encoding="utf-8"))
    assert about["image"] == str(image)
    assert about["class"] is None
    assert about["probability"] == pytest.approx(shares[0], abs=1e-4)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--top-k", 0), "at least 1"),
        (("--top-k", 4), "3 classes"),
        (("--threshold", 1.5), "probability"),
        (("--out", "a.txt"), ".csv or .jsonl"),
        (("--out", "/nowhere/a.csv"), "does not exist"),
    ],
)
def test_mistaken_options_of_predict(
    adapter: Path, more: tuple[object, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("predict", adapter, "a.png", *more)) == 2
    output = capsys.readouterr()
    assert sentence in output.err
    assert output.out == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_spreadsheet_runs_no_name(
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    start: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{start}cmd.png"
    Image.new("RGB", (32, 32), "red").save(name)
    assert main(["predict", str(adapter), "--", name]) == 0
    assert rows_of(capsys.readouterr().out)[0]["image"] == f"'{name}"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["predcit"], "did you mean 'predict'"),
        (["tune", "digits", "--out", "a", "--bugdet", "5"], "did you mean '--budget'"),
        (["bench", "--fewer", "al"], "did you mean 'all'"),
    ],
)
def test_mistyped_commands_and_options(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert meant in error
    assert len(error.splitlines()) == 2


def test_a_folder_without_its_kind(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("tune", image_folder, "--out", tmp_path / "a")) == 2
    assert f"did you mean folder:{image_folder}?" in capsys.readouterr().err
