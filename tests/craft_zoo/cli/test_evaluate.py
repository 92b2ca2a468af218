"""``evaluate``: what it prints and writes."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import craft_zoo as cz
from craft_zoo.benchmarks.confusion import plot_confusion
from craft_zoo.cli.evaluate import _confusions, _show
from craft_zoo.cli.main import main
from craft_zoo.console import Console
from craft_zoo.evaluation import Evaluation
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner


@pytest.fixture
def adapter(tiny_vlm: OpenCLIP, tiny_craft_mini: None, image_folder: Path, tmp_path: Path) -> Path:
    task = cz.few_shot(cz.load_dataset(f"folder:{image_folder}"), shots=1, seed=1)
    found = cz.tune(tiny_vlm, task, method="refine").adapter
    found.model = "craft-mini"
    found.save(tmp_path / "colours.adapter")
    return tmp_path / "colours.adapter"


def test_files_are_written_where_the_output_is_cut(
    adapter: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by ``| head -1``: Rich then raises SystemExit while the tables are printed."""
    monkeypatch.setattr("craft_zoo.cli.evaluate._show", lambda *_: sys.exit(1))
    out, card = tmp_path / "worth", tmp_path / "card.html"
    words = ["evaluate", str(adapter), f"folder:{image_folder}", "--out", str(out)]
    with pytest.raises(SystemExit):
        main([*words, "--card", str(card)])
    assert {path.name for path in out.iterdir()} >= {"evaluation.json", "predictions.csv"}
    assert card.stat().st_size > 10_000


def test_what_is_printed_fits_80_columns_and_what_is_written_agrees(
    adapter: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "worth"
    words = ["evaluate", str(adapter), f"folder:{image_folder}", "--out", str(out)]
    assert main([*words, "--coverage", "0.5"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if not line.startswith("Wrote")]
    assert max(map(len, lines)) <= 80
    about = json.loads((out / "evaluation.json").read_text())
    assert f"{100 * about['accuracy']:.1f} % (95 % interval" in printed
    assert np.sum(about["confusion"]) == about["images"] == 9
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["class"] == row["predicted"] for row in rows) == 9 * about["accuracy"]
    assert all(Path(row["image"]).is_file() for row in rows)
    assert about["coverage"] == pytest.approx(4 / 9)
    assert Image.open(out / "confusion.png").size[0] > 300


def test_tuning_fits_a_temperature_to_images_outside_the_shots(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = f"folder:{image_folder}", tmp_path / "a.adapter"
    tune = ["tune", data, "--out", str(out), "--shots", "2", "--budget", "3"]
    assert main([*tune, "--method", "refine"]) == 0  # cross-validated with one shot a class
    assert cz.Adapter.load(out).temperature == 1
    assert "Temperature" not in capsys.readouterr().out
    assert main([*tune, "--force", "--shots", "3", "--method", "refine"]) == 0
    temperature = cz.Adapter.load(out).temperature
    assert f"Temperature of the probabilities: {temperature:.2f}" in capsys.readouterr().out
    assert main(["evaluate", str(out), data]) == 0
    assert f"with its temperature of {temperature:.2f}" in capsys.readouterr().out
    assert main([*tune, "--force", "--calibrate", data, "--method", "prompt"]) == 0
    assert "measured on 9 test images of colours" in capsys.readouterr().out
    assert cz.Adapter.load(out).temperature != 1
    shots = cz.few_shot(cz.load_dataset(data), shots=2, seed=1).train.images
    for image in (image_folder / "train").rglob("*"):
        if image.name == "00.png":
            shutil.copy(image, image_folder / "test" / image.parent.name / "copy.png")
    assert main([*tune, "--force", "--calibrate", data, "--method", "prompt"]) == 0
    known = sum(Path(str(image)).name == "00.png" for image in shots)
    said = f"on {12 - known} test images of colours, without {known} that are copies of training"
    assert said in " ".join(capsys.readouterr().out.split())
    assert main([*tune, "--force", "--calibrate", "digits"]) == 2
    assert "10 of 10 classes for which the adapter was not tuned" in capsys.readouterr().err


def test_images_that_the_adapter_was_tuned_on_are_told(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a folder without splits has more images than when the adapter was tuned."""
    data, out = f"folder:{image_folder}", str(tmp_path / "a.adapter")
    assert main(["tune", data, "--out", out, "--shots", "2", "--method", "refine"]) == 0
    assert main(["evaluate", out, data]) == 0
    assert "was tuned on some of these" not in capsys.readouterr().err
    shutil.copytree(image_folder / "train", image_folder / "test", dirs_exist_ok=True)
    assert main(["evaluate", out, data]) == 0
    said = "the adapter was tuned on some of these images (6 of 6 training images that it keeps"
    assert said in capsys.readouterr().err


def test_of_some_classes_it_says_what_predict_answers_among_all(
    adapter: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = cz.Adapter.load(adapter)
    gone = "green field"
    assert isinstance(changed.solution.refiner, ConvexRefiner)
    changed.solution.refiner.bias[changed.classnames.index(gone)] = (
        1e6  # all images are taken for the class that is gone
    )
    changed.save(adapter)
    for split in ("train", "test"):
        shutil.rmtree(image_folder / split / "GreenField")
    out, card = tmp_path / "worth", tmp_path / "card.html"
    words = ["evaluate", str(adapter), f"folder:{image_folder}", "--out", str(out)]
    assert main([*words, "--card", str(card)]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if not line.startswith("Wrote")]
    assert max(map(len, lines)) <= 80
    assert "predict --threshold" not in printed + card.read_text()
    about = json.loads((out / "evaluation.json").read_text())
    assert about["accuracy"] > about["accuracy_of_all_classes"] == 0
    said = "Among all 3 of the adapter, as predict does, 0.0 % are correct"
    assert said in " ".join(printed.split())
    assert "Among all 3 classes of the adapter" in card.read_text()
    found = cz.evaluate(changed, cz.load_vlm("craft-mini"), cz.load_dataset(words[2]))
    of_all = cz.Evaluation((*found.classnames, gone), found.labels, found._of_all, found._of_all)
    assert found.fit_temperature() == of_all.fit_temperature()
    assert (found + found).accuracy_of_all == 0


def test_a_card_names_what_tune_did(
    tiny_craft_mini: None, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, card = f"folder:{image_folder}", tmp_path / "a.adapter", tmp_path / "a.html"
    tune = ["tune", data, "--out", str(out), "--shots", "2", "--budget", "3", "--price", "1000"]
    assert main([*tune, "--method", "craft", "--estimate", "none"]) == 0
    record = cz.Adapter.load(out).tuned
    assert record is not None
    assert (record.method, record.optimizer) == ("craft", "logit-gn")
    assert (record.dataset, record.images, record.seed) == ("colours", 6, 1)
    assert 0 < record.queries <= 3
    assert record.predictions == 6 * record.queries
    assert record.cost == record.predictions + 6  # canaries
    assert main(["evaluate", str(out), data, "--card", str(card), "--note", "Licence: MIT"]) == 0
    assert f"Wrote {card}" in capsys.readouterr().out
    page = card.read_text()
    assert f"{record.queries} quer" in page
    assert "<p>Licence: MIT</p>" in page
    assert "tuned on" in page
    assert record.curve is not None
    assert [queries for queries, _ in record.curve][-1] == record.queries
    assert "candidate on the 6 training images" in page


def test_a_dry_run_says_the_cost_and_asks_nothing(
    adapter: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(adapter), f"folder:{image_folder}", "--dry-run", "--price", "2000"]
    assert main(words) == 0
    assert capsys.readouterr().out == "At most 18 predictions, a price of 36.00\n"


def test_names_that_are_no_utf8_are_escaped_in_json(
    adapter: Path, image_folder: Path, tmp_path: Path
) -> None:
    odd = image_folder.rename(tmp_path / "caf\udce9")
    assert main(["evaluate", str(adapter), f"folder:{odd}", "--out", str(tmp_path / "out")]) == 0
    about = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert about["dataset"] == f"folder:{odd}"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--coverage", "0"), "coverage"),
        (("--out", __file__), "is a file"),
        (("--card", "a.pdf"), "must end in .html"),
        (("--card", "nowhere/a.html"), "nowhere does not exist"),
        (("--note", "MIT"), "with --card"),
    ],
)
def test_mistakes(
    adapter: Path, more: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(adapter), "digits", *more]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("n_classes", [2, 12, 13, 100])
def test_tables_and_plots_of_any_number_of_classes(n_classes: int, tmp_path: Path) -> None:
    names = tuple(f"a class [red]$ with a name that is long, number {i}" for i in range(n_classes))
    labels = np.arange(n_classes).repeat(1000)
    logits = np.random.default_rng(0).standard_normal((len(labels), n_classes))
    found = Evaluation(names, labels, logits, logits)
    console = Console(width=80, record=True, markup=False, emoji=False)
    _show(found, "random", 0.8, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "1,000" in text
    assert "[red]$" in text
    assert len(text.splitlines()) < 60
    assert _confusions(found).row_count == min(n_classes, 12)
    plot_confusion(found.confusion, names, tmp_path / "a.png")
