"""``check`` with a service whose answers are noisy, before and after its model is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from craft_zoo.adapter import Adapter
from craft_zoo.cli.main import main


@pytest.mark.parametrize(
    ("logprobs", "noise", "repeats", "said"),
    [
        (True, 0.0, 1, "(tolerance 0.01)"),
        pytest.param(True, 0.002, 1, "(tolerance 0.0", marks=pytest.mark.slow),
        (True, 0.1, 1, "points from each other, as the model's answers are noisy"),
        (False, 0.01, 64, "points from each other, as the model's answers are noisy"),
    ],
)
def test_noise_is_no_change_and_another_model_is_one(
    logprobs: bool,
    noise: float,
    repeats: int,
    said: str,
    paid_server: Any,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    paid_server.logprobs, paid_server.noise, paid_server.decimals = logprobs, noise, 12
    out, data = tmp_path / "a.adapter", f"folder:{image_folder}"
    options = [f"--model-option={one}" for one in ("concurrency=1", f"repeats={repeats}")]
    model = ["--model", paid_server.name("chat"), *options]
    tune = ["tune", data, "--shots", "4", "--method", "zero-shot", "--estimate", "none"]
    assert main([*tune, "--out", str(out), *model]) == 0
    assert len(paid_server.answered) == 16
    assert "(0 predictions, and 16 for canaries)" in capsys.readouterr().out
    assert Adapter.load(out).canaries is not None
    for _ in range(2):
        assert main(["check", str(out), *model]) == 0
        assert said in " ".join(capsys.readouterr().out.split())
    paid_server.version = "2"
    assert main(["check", str(out), *model]) == 1
    assert "Changed: the model does not answer" in capsys.readouterr().out
