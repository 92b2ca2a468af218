"""The programs in docs/examples run."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

import craft_zoo as cz
from craft_zoo.adapter import Adapter
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.openclip import OpenCLIP
from craft_zoo.solution import Solution

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def run(name: str) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_library(
    tiny_vlm: OpenCLIP,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cz, "load_vlm", lambda name: tiny_vlm)
    run("library.py")
    assert capsys.readouterr().out.startswith("1 query; accuracy ")
    assert (tmp_path / "digits.adapter").exists()


def test_own_model(capsys: pytest.CaptureFixture[str]) -> None:
    run("own_model.py")
    accuracy, zero_shot = re.findall(r"([\d.]+) %(?! interval)", capsys.readouterr().out)
    assert float(accuracy) > 2 * float(zero_shot)


def test_classify_over_http(
    tiny_vlm: OpenCLIP,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    adapter = Adapter.of(Solution("a {}."), tiny_vlm, tiny_vlm.classifier(("cat", "dog")))
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.jpg")
    real = runpy.run_path(str(ROOT / "tests" / "craft_zoo" / "client" / "real_server.py"))
    deployed = DeployedAdapter(adapter, tiny_vlm)
    with real["RealServer"](tiny_vlm, tmp_path / "state", adapter=deployed) as server:
        monkeypatch.setenv("KEY", server.key)
        monkeypatch.setattr(sys, "argv", ["", server.url, str(tmp_path / "cat.jpg")])
        run("classify_over_http.py")
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} == {"cat", "dog"}
