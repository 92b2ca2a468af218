"""Data options of commands: broken parts, other data sets, prompts in words."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from craft_zoo import Adapter
from craft_zoo.benchmarks import RunStore
from craft_zoo.cli import main

pytestmark = pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
SMALL = ["--seeds", "1", "--shots", "2", "--budget", "5", "--method", "refine"]


@pytest.fixture
def bad_folder(image_folder: Path) -> Path:
    """A folder with a truncated image, and an image outside the class folders."""
    image = image_folder / "train" / "red_square" / "00.png"
    shutil.copy(image, image_folder / "train" / "stray.png")
    image.write_bytes(image.read_bytes()[:200])
    return image_folder


def test_bad_parts_are_an_error_or_left_out_by_name(
    bad_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "--dataset", f"folder:{bad_folder}", "--out", str(tmp_path / "b"), *SMALL]
    assert main(command) == 2
    assert re.search(r"stray\.png.*(move|--skip-bad)", capsys.readouterr().err)
    assert main([*command, "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "colours: 2 left out" in printed
    assert "stray.png" in printed
    assert re.search(r"red_square/00\.png cannot be read", printed)
    [run] = RunStore(tmp_path / "b").read_all()[0]
    assert run.dataset.skip_bad
    assert main([*command, "--skip-bad", "--shots", "4"]) == 2
    assert "'red square' of colours has 3 training images" in capsys.readouterr().err
    assert main([*command, "--skip-bad", "--shots", "4", "--fewer", "all"]) == 0


def test_tune_leaves_bad_parts_out_too(
    bad_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "adapter")
    command = ["tune", f"folder:{bad_folder}", "--out", out, "--shots", "2", "--budget", "5"]
    assert main([*command, "--method", "refine"]) == 2
    assert main([*command, "--method", "refine", "--skip-bad"]) == 0
    assert "2 left out" in capsys.readouterr().out


def test_a_prompt_that_was_found_is_printed_and_can_be_used_as_words(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is, by whoever has the same model: the accuracies are the same."""
    out, data = tmp_path / "adapter", f"folder:{image_folder}"
    command = ["tune", data, "--out", str(out), "--shots", "2", "--budget", "60"]
    assert main([*command, "--method", "hard", "--optimizer", "genetic"]) == 0
    found = re.search(r'The prompt, in words: "(.*)"', capsys.readouterr().out)
    assert found is not None
    assert found[1] == Adapter.load(out).solution.prompt
    assert main(["evaluate", str(out), data]) == 0
    measured = re.search(
        r"colours: ([\d.]+) % \(95 % interval [^)]*\), zero-shot [\d.]+ % of 9 test",
        capsys.readouterr().out,
    )
    assert measured is not None
    bench = ["bench", "--dataset", data, "--out", str(tmp_path / "b"), *SMALL[:-1], "zero-shot"]
    assert main([*bench, "--set", f"template={found[1]}"]) == 0
    [(_, points, *_)] = RunStore(tmp_path / "b").read_all()[0].values()
    assert float(measured[1]) == pytest.approx(100 * points[0].accuracy, abs=0.05)


def test_evaluate_on_a_part_of_the_classes_and_not_on_others(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapter"
    tune = ["tune", f"folder:{image_folder}", "--out", str(out), "--shots", "2", "--budget", "3"]
    assert main([*tune, "--method", "refine"]) == 0
    assert main(["evaluate", str(out), f"folder:{image_folder}@base"]) == 0
    assert "of 6 test images, 2 classes" in capsys.readouterr().out
    other = shutil.copytree(image_folder, tmp_path / "other")
    for part in ("train", "test"):
        shutil.copytree(other / part / "red_square", other / part / "crimson tile")
    assert main(["evaluate", str(out), f"folder:{other}"]) == 2
    refusal = capsys.readouterr().err
    assert "has 1 of 4 classes for which the adapter was not tuned (crimson tile)" in refusal
    assert refusal.count("\n") == 1
    assert main(["evaluate", str(out), "imagenett"]) == 2


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "craft-mini" in printed
    assert re.search(r"RN50 +openai, yfcc15m, cc12m", printed)
    assert main(["models", "vit-b-16-siglip"]) == 0
    assert "RN50" not in capsys.readouterr().out
    assert main(["models", "OpenAI:"]) == 0
    assert "openai:…" in capsys.readouterr().out
    assert main(["models", "resnet-9000"]) == 2


def test_the_check_of_a_data_root(
    published_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", "check", str(published_root)]) == 0
    assert re.search(r"oxford_pets +ready", capsys.readouterr().out)
    assert main(["datasets", "check", str(tmp_path)]) == 2
    assert main(["datasets"]) == 0
    assert "imagenet-sketch" in capsys.readouterr().out


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("datasets: digits\n")
    assert main(["bench", "--plan", str(plan), "--suite", "zip-paper"]) == 2
    with pytest.raises(SystemExit):
        main(["bench", "--dry-run", "--price", "-1"])
    with pytest.raises(SystemExit):
        main(["bench", "--suite", "no-paper"])
