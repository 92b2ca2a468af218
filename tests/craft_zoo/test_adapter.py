"""Adapters survive saving; other files are refused with a sentence."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from craft_zoo.adapter import Adapter
from craft_zoo.adapter_file import header_schema
from craft_zoo.anchors import Anchors
from craft_zoo.blackbox import VLM
from craft_zoo.canaries import ask_canaries
from craft_zoo.client import from_callable
from craft_zoo.data import Task
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip import OpenCLIP
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.network import Refiner
from craft_zoo.solution import Solution
from craft_zoo.tuning_record import TuningRecord

NAMES = ("cat", "dog", "annual crop land")


def adapter_for(vlm: OpenCLIP, refiner: Refiner | None, own: int | None = None) -> Adapter:
    """An adapter with a context shared by all classes, or with ``own`` different ones."""
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


def test_a_temperature_divides_the_logits_and_survives_saving(
    vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    adapter, images = adapter_for(vlm, None), small_task.test.images[:4]
    before = adapter.predict(vlm, images)
    adapter.temperature = 2.5
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(tmp_path / "a")
    assert loaded.temperature == 2.5
    softened = before ** (1 / 2.5)
    expected = softened / softened.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.predict(vlm, images), expected, rtol=1e-4)
    deployed = DeployedAdapter(loaded, vlm).predict(vlm.images(images))
    np.testing.assert_allclose(deployed, expected, rtol=1e-4)


def test_the_record_of_tuning_survives_saving(vlm: OpenCLIP, tmp_path: Path) -> None:
    adapter = adapter_for(vlm, None)
    adapter.tuned = TuningRecord("craft", None, "pets", 48, 1, 200, 9600, 0.5)
    for record in (adapter.tuned, replace(adapter.tuned, curve=((1, 0.5), (200, 1.0)))):
        adapter.tuned = record
        adapter.save(tmp_path / "a")
        assert Adapter.load(tmp_path / "a").tuned == record
    adapter.tuned = None
    adapter.save(tmp_path / "a")
    assert Adapter.load(tmp_path / "a").tuned is None


def test_options_that_change_answers_survive_saving_and_others_are_warned_of(
    vlm: OpenCLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlm, "answer_options", "permutations=2")
    adapter = adapter_for(vlm, None)
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(tmp_path / "a")
    loaded.open(vlm)  # a warning would be an error
    monkeypatch.setattr(vlm, "answer_options", "")
    with pytest.warns(CraftZooWarning, match="the default options,.*the options permutations=2:"):
        loaded.open(vlm)


def test_an_adapter_of_a_service_that_takes_words_is_bound_to_its_name() -> None:
    """Such a service has no initial context, by which the others are told apart."""

    def named(name: str) -> VLM:
        return from_callable(lambda prompts, images: np.zeros((len(images), 3)), name=name)

    first = named("chat:small@https://a/v1")
    box = first.classifier(NAMES)
    adapter = Adapter.of(Solution(box.template), first, box)
    adapter.open(named("chat:small@https://b/v1"))  # a warning would be an error
    with pytest.warns(CraftZooWarning, match="tuned on chat:small@.*, and chat:large is asked"):
        adapter.open(named("chat:large"))


def test_what_could_not_be_read_again_is_not_saved(vlm: OpenCLIP, tmp_path: Path) -> None:
    adapter = adapter_for(vlm, None)
    adapter.temperature = np.float32(1.5)  # type: ignore[assignment]
    adapter.tuned = TuningRecord("craft", None, "pets", 48, 2**60, 200, 9600, 0.5)
    adapter.save(tmp_path / "a")
    loaded = Adapter.load(tmp_path / "a")
    assert (loaded.temperature, loaded.tuned) == (1.5, adapter.tuned)
    for name, value in {
        "temperature": 0.0,
        "classnames": ("a\nb", "c", "d"),
        "tuned": replace(adapter.tuned, dataset="a\nb"),
    }.items():
        with pytest.raises(CraftZooError, match=rf"cannot be saved.*: {name}"):
            replace(adapter, **{name: value}).save(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_contexts_for_other_classes_are_refused(vlm: OpenCLIP, tmp_path: Path) -> None:
    adapter_for(vlm, None, own=4).save(tmp_path / "four.adapter")
    with pytest.raises(CraftZooError, match=r"is not an adapter .* for 3 classes"):
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
    with pytest.raises(CraftZooError) as raised:
        adapter_for(vlm, None).save(path := tmp_path / "nowhere" / "a")
    assert str(raised.value).startswith(f"{path} cannot be written (No such file or directory): ")


def test_an_adapter_for_weights_that_were_computed_otherwise(
    vlm: OpenCLIP, small_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token embeddings, and with them fingerprints, are the same."""
    adapter, images = adapter_for(vlm, None), small_task.test.images[:2]
    expected = adapter.predict(vlm, images)
    cases = {
        "ViT-B-32@openai": ("ViT-B-32-quickgelu@openai", r"with GELU, .* \(--no-quickgelu\)$"),
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


STRANGE = {
    "format": "craft-zoo adapter 4",
    "model": "craft-mini",
    "fingerprint": [0.0] * 16,
    "init": "a photo of a {}.",
    "classnames": ["a", "b"],
    "template": "a {}",
    "refiner": None,
    "anchors": None,
}
TUNED = asdict(TuningRecord("craft", None, "pets", 48, 1, 200, 9600))

COPIES = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)


def stranger(path: Path, about: Any, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, metadata={"craft_zoo": json.dumps(about)})
    return path


def test_a_header_alone_can_be_an_adapter(tmp_path: Path) -> None:
    loaded = Adapter.load(stranger(tmp_path / "a", STRANGE))
    assert loaded.classnames == ("a", "b")


@pytest.mark.parametrize(
    "change",
    [
        {"classnames": [1, 2]},
        {"classnames": "ab"},
        {"classnames": []},
        {"classnames": [["a"], "b"]},
        {"classnames": ["a", "\x1b[31m"]},
        {"classnames": ["a", "x" * 5000]},
        {"init": None},
        {"init": "{} {}"},
        {"init": " "},
        {"model": 5},
        {"model": "\0"},
        {"fingerprint": [float("nan")] * 16},
        {"fingerprint": ["0"] * 16},
        {"template": 5},
        {"template": ["a {}"]},
        {"template": None},
        {"refiner": {"hidden": 5 * 10**7}},
        {"refiner": {"hidden": -1}},
        {"refiner": {"hidden": True}},
        {"refiner": {"hidden": 4.0}},
        {"refiner": {}},
        {"refiner": "convex"},
        {"refiner": "concave"},
        {"anchors": ["sea"], "anchor_templates": ["a {}"]},
        {"anchors": [5]},
        {"anchor_templates": ["a {}"]},
        {"format": ["craft-zoo adapter 4"]},
        {"format": "craft-zoo adapter 13"},
        {"answer_options": ""},
        {"served": {}},
        {"served": {"name": 5}},
        {"served": {"name": "a\x1b"}},
        {"tuned": {}},
        {"tuned": TUNED | {"method": "a\x1b"}},
        {"tuned": TUNED | {"queries": -1}},
        {"tuned": TUNED | {"cost": float("nan")}},
        {"tuned": TUNED | {"surplus": 1}},
        {"tuned": TUNED | {"curve": [[1, 0.5], [2]]}},
        {"tuned": TUNED | {"curve": [[1, 2.0]]}},
        {"tuned": TUNED | {"curve": []}},
        {"tuned": TUNED | {"curve": [[1, 0.5]] * 1000}},
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": 1e-320},
        {"temperature": 1e300},
        {"temperature": "1"},
        {"local": 5},
        {"local": "colours+hog"},
        {"surplus": 1},
        {"checksum": "0" * 32},
    ],
)
def test_a_strange_header_is_one_sentence_before_memory_is_taken(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = stranger(tmp_path / "a", STRANGE | change)
    tracemalloc.start()
    try:
        with pytest.raises(CraftZooError, match=str(path)) as refused:
            Adapter.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "5", "null", "[" * 100_000, '{"a": ' * 100_000, '{"format": 1' + "0" * 5000 + "}"],
)
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a", metadata={"craft_zoo": text})
    with pytest.raises(CraftZooError, match=r"is not an adapter|has the format"):
        Adapter.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"context": torch.zeros(4)}, "contexts"),
        ({"context": torch.zeros(3, 4, 8)}, "for 2 classes"),
        ({"context": torch.zeros(0, 8)}, "contexts"),
        ({"context": torch.full((4, 8), float("nan"))}, "NaN or infinity"),
        ({"context": torch.full((4, 8), float("inf"))}, "NaN or infinity"),
        ({"context": torch.full((4, 8), -3e38)}, r"numbers beyond 1e\+18"),
        ({"context": torch.zeros(4, 8, dtype=torch.bfloat16)}, "BF16"),
        ({"context": torch.zeros(4, 8, dtype=torch.float64)}, "F64"),
        ({"context": torch.zeros(4, 8), "x": torch.zeros(1)}, "is unexpected"),
        ({"context": torch.zeros(4, 8), "transductive.means": torch.zeros(2, 1)}, "is unexpected"),
        ({"context": torch.zeros(4, 8), "canaries.logits": torch.zeros(1, 2)}, "is unexpected"),
        ({"context": torch.zeros(4, 8), "canaries.images": COPIES}, "canaries.logits is missing"),
        ({"context": torch.zeros(4, 8), "canaries.images": COPIES.float()}, "F32, not U8"),
        ({"context": torch.zeros(4, 8), "canaries.images": COPIES[0]}, "canaries of shape"),
        (
            {
                "context": torch.zeros(4, 8),
                "canaries.images": COPIES,
                "canaries.logits": torch.zeros(1, 3),
            },
            "has the shape",
        ),
    ],
)
def test_strange_tensors_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    path = stranger(tmp_path / "a", STRANGE | {"template": None}, **tensors)
    with pytest.raises(CraftZooError, match=reason):
        Adapter.load(path)


def whole(vlm: OpenCLIP, path: Path) -> bytes:
    """An adapter with all optional parts."""
    box = vlm.classifier(NAMES)
    anchors = Anchors(("sea", "wood"), ("a photo of a {}.", "a {}"))
    refiner = ConvexRefiner(np.ones((3 + 4, 3), np.float32), np.ones(3, np.float32))
    Adapter.of(Solution(box.initial_context, refiner, anchors), vlm, box).save(path)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_no_other_adapter(
    vlm: OpenCLIP, tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("adapter") / "a"
    content = bytearray(whole(vlm, path))
    before = Adapter.load(path)
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        after = Adapter.load(path)
    except CraftZooError:
        return
    assert after.solution.refiner is not None  # white space of the header
    assert (after.classnames, after.model, after.init, after.fingerprint) == (
        before.classnames,
        before.model,
        before.init,
        before.fingerprint,
    )
    assert np.array_equal(after.solution.prompt, before.solution.prompt)


def test_the_documented_format_is_what_is_written(vlm: OpenCLIP, tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "docs" / "reference"
    stored = json.loads((folder / "adapter-header.schema.json").read_text())
    written = header_schema()
    for schema in (stored, written):  # missing with older versions of pydantic
        schema["$defs"]["TuningRecord"].pop("description", None)
    assert stored == written  # write it again if the header has changed
    validator = jsonschema_rs.validator_for(stored)
    page = (folder / "adapter-file.md").read_text()
    path = tmp_path / "a"
    whole(vlm, path)
    adapter = Adapter.load(path)
    adapter.tuned, adapter.temperature = TuningRecord(**TUNED), 2.0
    images = np.zeros((1, 8, 8, 3), np.uint8)
    adapter.tuned = replace(adapter.tuned, curve=((1, 0.5), (2, 1.0)))
    once = ask_canaries(adapter, vlm, list(images))
    adapter.canaries = replace(once, logits_again=once.logits, anchors_again=once.anchors)
    adapter.save(path)
    for network in (None, Refiner(3, hidden=16, seed=5)):
        if network is not None:
            adapter_for(vlm, network).save(path)
        with safe_open(path, framework="np") as file:
            about, tensors = json.loads(file.metadata()["craft_zoo"]), set(file.keys())
        validator.validate(about)
        with pytest.raises(jsonschema_rs.ValidationError):
            validator.validate(about | {"temperature": 0})
        for name in (*about, *tensors):
            assert f"`{name}`" in page, name
        assert f'"{about["format"]}"' in page
    assert set(stored["properties"]) <= set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))


def test_a_changed_number_fails_the_checksum(vlm: OpenCLIP, tmp_path: Path) -> None:
    path = tmp_path / "a"
    content = bytearray(whole(vlm, path))
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CraftZooError, match="does not match its checksum"):
        Adapter.load(path)


def test_adapters_of_before_are_read_without_a_checksum(vlm: OpenCLIP, tmp_path: Path) -> None:
    whole(vlm, tmp_path / "a")
    with safe_open(tmp_path / "a", framework="pt") as file:
        about = json.loads(file.metadata()["craft_zoo"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert about.pop("checksum")
    for format in ("craft-zoo adapter 3", "craft-zoo adapter 4"):
        old = stranger(tmp_path / "old", about | {"format": format}, **tensors)
        assert Adapter.load(old).classnames == NAMES


def test_an_adapter_is_readable_as_the_umask_says(vlm: OpenCLIP, tmp_path: Path) -> None:
    for umask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            adapter_for(vlm, None).save(tmp_path / "a")
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode
