"""Model options that commands share, and ``craft-zoo cache``."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import load_vlm
from craft_zoo.cli import main
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.machine import one_numpy_thread
from craft_zoo.openclip import OpenCLIP
from craft_zoo.solution import Solution

TUNE = ["--budget", "8", "--optimizer", "cma:popsize=4", "--shots", "2", "--set", "intrinsic_dim=4"]


def tune(image_folder: Path, out: Path, *more: str) -> int:
    return main(["tune", f"folder:{image_folder}", "--out", str(out), *TUNE, *more])


def test_features_are_kept_shown_and_cleared(
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("CRAFT_ZOO_CACHE", str(cache))
    assert tune(image_folder, tmp_path / "a", "--no-cache") == 0
    assert not cache.exists()
    assert main(["cache"]) == 0
    assert "0.0 MB for 0 models" in capsys.readouterr().out
    assert tune(image_folder, tmp_path / "b") == 0
    assert tune(image_folder, tmp_path / "c") == 0  # from the cache
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert main(["cache"]) == 0
    assert "for 1 models" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert not list(cache.glob("*.sqlite"))


def test_memory_changes_no_result_and_threads_are_set(image_folder: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert tune(image_folder, tmp_path / "a", "--threads", "1") == 0
        assert torch.get_num_threads() == 1
        assert tune(image_folder, tmp_path / "b", "--threads", "1", "--memory", "1") == 0
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "b").stat().st_size == (tmp_path / "a").stat().st_size


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--threads", "0"], "at least 1 thread is needed, not 0"),
        (["--memory", "0"], "at least 1 MB, not 0"),
    ],
)
def test_bad_numbers(
    image_folder: Path,
    tmp_path: Path,
    option: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tune(image_folder, tmp_path / "a", *option) == 2
    assert message in capsys.readouterr().err


def test_numpys_threads_come_back_after_a_run() -> None:
    from threadpoolctl import ThreadpoolController

    def threads() -> list[int]:
        return [
            library["num_threads"]
            for library in ThreadpoolController().info()
            if "numpy.libs" in library["filepath"]
        ]

    before = threads()
    if not before:
        pytest.skip("this NumPy brings no linear algebra of its own")
    with one_numpy_thread():
        assert threads() == [1] * len(before)
    assert threads() == before


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "hf-api:http://127.0.0.1:9/clip"])
def test_an_address_that_an_adapter_alone_names_is_not_asked(
    vlm: OpenCLIP,
    image_folder: Path,
    tmp_path: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever made the adapter could have the key and the images sent to wherever they like."""

    def send(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr("httpx.Client.request", send)
    monkeypatch.setattr("httpx.Client.send", send)
    image = next(image_folder.rglob("*.png"), None) or next(image_folder.rglob("*.jpg"))
    box = vlm.classifier(["cat", "dog"])
    adapter = Adapter.of(Solution("a photo of a {}.", None), vlm, box)
    adapter.model = address
    file = tmp_path / "stranger.adapter"
    adapter.save(file)
    for command in (["predict", str(file), str(image)], ["evaluate", str(file), "digits"]):
        assert main(command) == 2
        assert f"add --model {address} to allow it" in capsys.readouterr().err


@pytest.mark.parametrize("several", [["--jobs", "2"], ["--executor", "ray"]])
@pytest.mark.parametrize("limit", [["--max-predictions", "9"], ["--price", "1", "--max-cost", "9"]])
def test_limits_that_each_process_would_count_for_itself_are_refused(
    several: list[str], limit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench", "--out", str(tmp_path / "b"), "--model", "http://127.0.0.1:9"]
    assert main([*command, *several, *limit]) == 2
    assert "each process counts" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_an_activation_that_is_not_the_users_to_say(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(image_folder, tmp_path / "a", "--quickgelu") == 2
    assert "the activation of craft-mini is part of it: leave out" in capsys.readouterr().err


def test_a_warning_is_one_line_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn() -> dict[str, tuple[str, ...]]:
        warnings.warn("the file cannot say it: add --quickgelu", CraftZooWarning, stacklevel=2)
        return {"ViT-B-32": ("openai",)}

    monkeypatch.setattr("craft_zoo.openclip.pretrained_models", warn)
    assert main(["models"]) == 0
    assert capsys.readouterr().err == "craft-zoo: the file cannot say it: add --quickgelu\n"


def test_the_activation_is_part_of_a_benchs_model(capsys: pytest.CaptureFixture[str]) -> None:
    bench = ["bench", "--dry-run", "--model", "ViT-B-32", "--pretrained", "nowhere.pt"]
    assert main([*bench, "--quickgelu"]) == 0
    assert "weights that open_clip has for ViT-B-32-quickgelu" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["craft-mini", "http://127.0.0.1:9", "hf-api:http://127.0.0.1:9"])
def test_options_of_services_are_refused_for_other_models(model: str) -> None:
    with pytest.raises(CraftZooError, match=rf"{model} has no options, .*\(--model-option\)"):
        load_vlm(model, options={"permutations": 4})
