"""Adapters survive saving; whatever else is on disk is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from craft_zoo.adapter import Adapter, Solution
from craft_zoo.blackbox import OpenCLIP
from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.refiner import Refiner

NAMES = ("cat", "dog", "annual crop land")


def adapter_for(vlm: OpenCLIP, refiner: Refiner | None, own: int | None = None) -> Adapter:
    """With a context that all classes share, or with ``own`` different ones."""
    box = vlm.classifier(NAMES)
    context = box.initial_context + 0.1
    if own:
        context = context + np.arange(own, dtype=np.float32)[:, None, None] / 10
    return Adapter.of(Solution(context, refiner), vlm, box)


@pytest.mark.parametrize("refiner", [None, Refiner(3, hidden=16, seed=5)])
@pytest.mark.parametrize("own", [None, 3])
def test_a_saved_adapter_predicts_the_same(
    vlm: OpenCLIP, small_task: Task, tmp_path: Path, refiner: Refiner | None, own: int | None
) -> None:
    adapter = adapter_for(vlm, refiner, own)
    path = tmp_path / "pets.adapter"
    adapter.save(path)
    loaded = Adapter.load(path)
    assert (loaded.classnames, loaded.model) == (NAMES, "craft-mini")
    assert loaded.init == "a photo of a {}."
    images = small_task.test.images[:6]
    expected = adapter.predict(vlm, images)
    assert expected.shape == (6, 3)
    assert np.allclose(expected.sum(axis=1), 1)
    assert np.array_equal(loaded.predict(vlm, images), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["pets.adapter"]


def test_contexts_for_other_classes_are_refused(vlm: OpenCLIP, tmp_path: Path) -> None:
    adapter_for(vlm, None, own=4).save(tmp_path / "four.adapter")
    with pytest.raises(CraftZooError, match=r"is not an adapter .* of 3 classes"):
        Adapter.load(tmp_path / "four.adapter")


def test_another_model_is_refused(vlm: OpenCLIP, small_task: Task) -> None:
    adapter = adapter_for(vlm, None)
    adapter.fingerprint = tuple(1.01 * value for value in adapter.fingerprint)
    with pytest.raises(CraftZooError, match="made for craft-mini"):
        adapter.predict(vlm, small_task.test.images[:1])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="does not exist"):
        Adapter.load(tmp_path / "nowhere")


def test_files_that_are_no_adapters(tmp_path: Path) -> None:
    text, tensors = tmp_path / "text", tmp_path / "tensors"
    text.write_text("no adapter")
    save_file({"x": torch.zeros(1)}, tensors)
    for path in (text, tensors):
        with pytest.raises(CraftZooError, match="is not an adapter"):
            Adapter.load(path)


def test_an_adapter_that_was_cut_short(vlm: OpenCLIP, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    adapter_for(vlm, None).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CraftZooError, match="is not an adapter"):
        Adapter.load(path)


def test_a_place_that_cannot_be_written(vlm: OpenCLIP, tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="cannot be written"):
        adapter_for(vlm, None).save(tmp_path / "nowhere" / "a")


def test_an_adapter_for_weights_that_were_computed_otherwise(
    vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token embeddings, and with them fingerprints, are the same."""
    adapter, images = adapter_for(vlm, None), small_task.test.images[:2]
    expected = adapter.predict(vlm, images)
    cases = {
        "ViT-B-32@openai": ("ViT-B-32-quickgelu@openai", r"with GELU, .*with --no-quickgelu$"),
        "ViT-B-16-SigLIP@/a/b.pt": (
            "ViT-B-16-SigLIP@webli@/a/b.pt",
            r"\(what differs: mean, std, resize mode\): tune again$",
        ),
    }
    for before, (now, message) in cases.items():
        adapter.model = before
        monkeypatch.setattr(vlm, "name", now)
        with pytest.raises(CraftZooError, match=f"made for {before} by an earlier .*{message}"):
            adapter.predict(vlm, images)
        adapter.model = now
        assert np.array_equal(adapter.predict(vlm, images), expected)
    adapter.model = "ViT-B-32@openai"
    monkeypatch.setattr(vlm, "name", "ViT-B-32-gelu@openai")
    assert np.array_equal(adapter.predict(vlm, images), expected)
