"""Run identities: which settings and data they depend on."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.benchmarks import Bench, RunSpec, RunStore, combine, cross
from craft_zoo.benchmarks.grid import label_runs
from craft_zoo.blackbox import Journal, load_vlm
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, fingerprint, load_dataset
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import is_white_box, method_names, readers_of, settings_of
from craft_zoo.openclip import OpenCLIP

# Choosing the sum takes ten times as long as choosing its logistic part alone.
BASE = CraftConfig(anchors=6, intrinsic_dim=20, discriminant=False)
OTHERS = CraftConfig(
    template="a sketch of a {}.",
    words=2,
    refiner="network",
    intrinsic_dim=30,
    scale=2.0,
    context="unified",
    anchors=9,
    anchor_bank="spread",
    per_image=1.7,
    refit_queries=7,
    discriminant=True,
    local="colours",
    prior="train",
    initial_answer=False,
    patience=50,
    consistency=0.2,
    consistency_share=0.5,
    hidden=8,
    lr=0.01,
    batch_size=16,
    epoch_queries=5,
    views=1,
)


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


def of(
    folder: Path, method: str, config: CraftConfig, optimizer: str = "logit-gn", **given: Any
) -> RunSpec:
    [run] = cross(
        "craft-mini",
        [DatasetSpec(f"folder:{folder}", **given)],
        combine([method], [optimizer], config),
        shots=[2],
        seeds=[1],
        budgets=[40],
    )
    return run


# A background has words of its own, see tests/craft_zoo/test_background.py.
NOT_TOGETHER = ("own", "background")


def test_every_setting_has_another_value_here() -> None:
    for field in fields(CraftConfig):
        assert field.name in NOT_TOGETHER or getattr(OTHERS, field.name) != getattr(
            BASE, field.name
        )


# Methods that encode images at each query, take many queries a step, or need vectors, a file or a
# language model.
LEFT_OUT = {
    *("bar", "blackvip", "blackvip-se", "bpt-vlm", "bpt-vlm-deep", "cbbt", "lfa", "lfa-local"),
    *("descriptions", "llm-prompts", "sharpzo", "vectors", "visual-prompt"),
}


@pytest.mark.parametrize("method", sorted({*method_names()} - LEFT_OUT))
@pytest.mark.parametrize("refiner", ["convex", "network"])
def test_settings_that_do_not_count_change_nothing(
    method: str,
    refiner: str,
    vlm: OpenCLIP,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("craft_zoo.methods.white_box._STEPS", 5)
    base = replace(BASE, refiner=refiner)  # type: ignore[arg-type]
    if refiner == "network" and "refiner" not in settings_of(method, base):
        return
    # Settings of before are left out of the identity at their earlier values.
    earlier = {
        name: getattr(base, name)
        for name in ("discriminant", "local", "prior", "per_image", "background")
        if method in readers_of(name, base)
    }
    # Settings that a method declares itself are not fields of the configuration.
    fields_used = {k: v for k, v in settings_of(method, base).items() if "." not in k}
    used = earlier | fields_used
    changed = replace(OTHERS, template=base.template, **used)
    optimizer = "logit-gn" if refiner == "convex" else "cma:popsize=8"

    def run(config: CraftConfig) -> RunSpec:
        return of(image_folder, method, config, optimizer)

    one, other = run(base), run(changed)
    assert one != other
    assert one.identity == other.identity
    curves = [
        Bench(vlm, RunStore(tmp_path / name)).run([spec])[spec]
        for name, spec in (("one", one), ("other", other))
    ]
    plain = [[replace(point, seconds=0) for point in curve] for curve in curves]
    assert plain[0] == plain[1]
    for name in used:
        value = getattr(OTHERS, name)
        if getattr(base, name) != value:
            assert run(replace(base, **{name: value})).identity != one.identity
    assert is_white_box(method) <= (not used)


def test_numbers_of_numpy_are_those_of_python() -> None:
    def run(whole: Any, real: Any) -> RunSpec:
        config = CraftConfig(anchors=whole(9), scale=real(2), discriminant=np.bool_(False))
        digits = DatasetSpec("digits")
        return RunSpec(
            "craft-mini", digits, "anchors", "none", whole(2), whole(1), whole(9), config
        )

    other = run(np.int64, np.float32)
    assert other.identity == run(int, float).identity
    assert RunSpec.from_json(json.loads(json.dumps(other.to_json()))) == other


def test_a_data_set_counts_by_what_it_holds(image_folder: Path, tmp_path: Path) -> None:
    run = of(image_folder, "craft", CraftConfig())
    moved = tmp_path / "elsewhere" / image_folder.name
    shutil.copytree(image_folder, moved)
    assert of(moved, "craft", CraftConfig()).identity == run.identity
    names = tmp_path / "names.txt"
    names.write_text("red_square\tsquare\nGreenField\tfield\nblue-sky\tsky\n")
    named = of(moved, "craft", CraftConfig(), classnames=str(names))
    assert named.identity != run.identity
    image = next(moved.glob("test/*/*.png"))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(image)
    assert of(moved, "craft", CraftConfig()).identity != run.identity
    assert fingerprint(load_dataset("digits")) == fingerprint(load_dataset("digits"))


def test_runs_in_another_precision_are_other_runs(
    image_folder: Path,
    tmp_path: Path,
    tiny_craft_mini: None,
    undrawn: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "--dataset", f"folder:{image_folder}", "--method", "zero-shot"]
    words += ["--shots", "1", "--seeds", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--precision", "bf16"]) == 0
    assert main([*words, "--precision", "bf16"]) == 0
    assert capsys.readouterr().out.count("1 of 1 runs were in") == 1
    runs, _ = RunStore(tmp_path).read_all()
    assert sorted(label_runs(runs).values()) == ["zero-shot", "zero-shot, bf16"]
    plain, half = sorted(runs, key=lambda run: run.precision, reverse=True)
    assert replace(half, precision="fp32") == plain

    with pytest.raises(CraftZooError, match=r"of a model in bf16, and this one computes in fp32"):
        Bench(load_vlm(), RunStore(tmp_path / "other")).run([half])


def test_a_journal_in_another_precision_is_not_continued(
    image_folder: Path,
    tmp_path: Path,
    tiny_craft_mini: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["tune", f"folder:{image_folder}", "--method", "templates", "--budget", "4"]
    words += ["--shots", "1", "--in-flight", "1", "--out", str(tmp_path / "a"), "--no-canaries"]
    left = iter([Journal.keep])  # the second call stops the command
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "keep", lambda *arguments: next(left)(*arguments))
        with pytest.raises(RuntimeError, match="StopIteration"):
            main(words)
    assert main([*words, "--precision", "bf16"]) == 2
    assert "records other queries than those made now" in capsys.readouterr().err
    assert main(words) == 0
