"""Common checkpoint formats load; misfits are named; no code in a file is run."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import factory
from safetensors.torch import save_file

from craft_zoo.blackbox import load_vlm
from craft_zoo.errors import CraftZooError, CraftZooWarning
from craft_zoo.openclip.checkpoint import load_weights, read_checkpoint

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 16,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 1, "layers": 1},
}
State = dict[str, torch.Tensor]


def build(**text: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return open_clip.CLIP(**(CONFIG | {"text_cfg": CONFIG["text_cfg"] | text})).eval()


STATE: State = build().state_dict()


def prefixed(*prefixes: str) -> Callable[[State], Any]:
    return lambda state: {"".join(prefixes) + key: value for key, value in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "plain": dict,
    "half precision": lambda s: {k: v.half() for k, v in s.items()},
    "parameters": lambda s: {k: torch.nn.Parameter(v) for k, v in s.items()},
    "a training run": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 0.1}},
    "in model": lambda s: {"model": s, "iteration": 7},
    "a numpy float": lambda s: {"state_dict": s, "best": np.float64(0.5), "i": np.int32(3)},
    "a numpy array": lambda s: {"state_dict": s, "curve": np.arange(5.0)},
    "arguments": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, out=Path("x"))},
    "compiled": prefixed("_orig_mod."),
    "on several GPUs": prefixed("module."),
    "compiled on several": prefixed("module.", "_orig_mod."),
    "several, then compiled": prefixed("_orig_mod.", "module."),
    "compiled tower": lambda s: {
        k.replace("visual.", "visual._orig_mod."): v for k, v in s.items()
    },
    "OpenAI's numbers": lambda s: s | {"input_resolution": torch.tensor(32), "vocab_size": 64},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_as_people_have_them(tmp_path: Path, form: str, legacy: bool) -> None:
    path = tmp_path / "w.pt"
    torch.save(FORMS[form](STATE), path, _use_new_zipfile_serialization=not legacy)
    checkpoint = read_checkpoint(path)
    assert checkpoint.quick_gelu is (True if form == "OpenAI's numbers" else None)
    model = open_clip.CLIP(**CONFIG)
    assert load_weights(model, checkpoint.weights) == []
    for key, value in model.state_dict().items():
        assert torch.allclose(value, STATE[key], atol=1e-3), key


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), change=st.sampled_from(["cut", "zero", "flip"]))
def test_a_broken_file_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, kind: str, where: float, change: str
) -> None:
    path = tmp_path_factory.mktemp("broken") / ("w.safetensors" if kind == "safetensors" else "w")
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if change == "cut":
        del content[place:]
    else:
        content[place] = 0 if change == "zero" else content[place] ^ 255
    path.write_bytes(content)
    with suppress(CraftZooError):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(path.with_name("missing"))


def test_safetensors(tmp_path: Path) -> None:
    save_file(prefixed("module.")(STATE), tmp_path / "w.safetensors")
    assert set(read_checkpoint(tmp_path / "w.safetensors").weights) == set(STATE)


@settings(max_examples=20, deadline=None)
@given(
    left_out=st.sets(st.sampled_from(sorted(STATE)), max_size=7),
    surplus=st.sets(st.text("abc.", min_size=1, max_size=9).map("x".__add__), max_size=7),
    bent=st.sets(st.sampled_from(["text_projection", "ln_final.bias"])),
)
def test_what_does_not_fit_is_named(left_out: set[str], surplus: set[str], bent: set[str]) -> None:
    bent = bent - left_out
    state = {key: value for key, value in STATE.items() if key not in left_out}
    state |= dict.fromkeys(surplus, torch.zeros(1)) | dict.fromkeys(bent, torch.zeros(3, 1, 2))
    model = open_clip.CLIP(**CONFIG)
    if not left_out | surplus | bent:
        assert load_weights(model, state) == []
        return
    with pytest.raises(CraftZooError) as raised:
        load_weights(model, state)
    message = str(raised.value)
    for keys, what in ((left_out, "are missing"), (surplus, "surplus"), (bent, "another shape")):
        assert (what in message) == bool(keys)
        assert sum(key in message for key in keys) >= min(4, len(keys))
    assert (f"{len(left_out)} keys of the model are missing: " in message) == bool(left_out)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(factory._MODEL_CONFIGS, "t-tiny", CONFIG)
    return "t-tiny"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_any_floating_point_type_are_read(dtype: torch.dtype) -> None:
    model = open_clip.CLIP(**CONFIG)
    assert load_weights(model, {key: value.to(dtype) for key, value in STATE.items()}) == []
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, STATE[key], rtol=0.1, atol=0.01)


@pytest.mark.parametrize(
    "code",
    [
        lambda values: (100 * values).to(torch.int8),
        lambda values: values > 0,
        lambda values: values.to(torch.complex64),
        lambda values: values.to_sparse(),
    ],
)
def test_weights_in_another_form_are_refused(code: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Integers were used as if they were the weights."""
    state = STATE | {"text_projection": code(STATE["text_projection"])}
    with pytest.raises(CraftZooError, match=r"1 are quantised, .* read: text_projection \("):
        load_weights(open_clip.CLIP(**CONFIG), state)


def test_the_sentence_of_a_file_that_does_not_fit(tiny: str, tmp_path: Path) -> None:
    torch.save(STATE | {"head.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(CraftZooError) as raised:
        load_vlm(tiny, str(tmp_path / "w.pt"), device="cpu")
    assert "t-tiny with weights" in str(raised.value)
    assert "cannot be loaded (1 keys are surplus: head.weight): check that" in str(raised.value)
    assert "hub" not in str(raised.value)


def test_resized_embeddings_are_said(tiny: str, tmp_path: Path) -> None:
    torch.save(build(context_length=12).state_dict(), tmp_path / "w.pt")
    with pytest.warns(CraftZooWarning, match=r"positional_embedding was resized from \(12, 16\)"):
        load_vlm(tiny, str(tmp_path / "w.pt"), device="cpu")


class Evil:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_that_a_file_names_is_run(tmp_path: Path, legacy: bool) -> None:
    path, made = tmp_path / "w.pt", tmp_path / "made"
    torch.save(
        {"state_dict": STATE, "x": Evil(made)}, path, _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(CraftZooError, match=r"holds (posix|nt)\.mkdir, which is not read.*alone"):
        read_checkpoint(path)
    assert not made.exists()


def archive(path: Path, root: Any = b"", compression: int = zipfile.ZIP_STORED) -> Path:
    """A TorchScript archive with the given pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/constants.pkl", b"")
        file.writestr("a/data.pkl", root)
        file.writestr("a/data/0", b"\0" * 16)
    return path


def test_an_archives_pickle_names_nothing_but_tensors(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.pt", pickle.dumps(Evil(tmp_path / "made"), protocol=2))
    with pytest.raises(CraftZooError, match=r"mkdir, which is not read"):
        read_checkpoint(path)
    assert not (tmp_path / "made").exists()


def test_an_archive_whose_program_would_write_a_file(tmp_path: Path) -> None:
    """TorchScript may do so when it is loaded; here it is not run."""

    class Writes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

        @torch.jit.export
        def __getstate__(self) -> tuple[torch.Tensor, bool]:
            return self.weight, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
            raise AssertionError("it was run")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation
        torch.jit.script(Writes()).save(str(tmp_path / "w.pt"))
    with pytest.raises(CraftZooError, match="holds no weights"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "root",
    [
        b"\x80\x02r\xff\xff\xff\xff.",  # a place in the memo that would take 32 GB
        b"\x80\x02\x8a\xff.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes
        # A storage of 2^40 numbers, in 16 bytes.
        b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu\x8a\x06\0\0\0\0\0\x01tQ.",
    ],
)
def test_broken_archives_end_in_an_error(tiny: str, tmp_path: Path, root: bytes) -> None:
    path = archive(tmp_path / "w.pt", root)
    with pytest.raises(CraftZooError, match="cannot be loaded"):
        load_vlm(tiny, str(path), device="cpu")


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.pt", bytes(10**8), zipfile.ZIP_DEFLATED)
    with pytest.raises(CraftZooError, match=r"unpacks to 100,0.* bytes"):
        read_checkpoint(path)


def test_modules_that_hold_each_other_end(tmp_path: Path) -> None:
    """Thirty modules, each of which holds the next twice."""
    out = io.BytesIO(b"")
    out.write(b"\x80\x02")
    depth = 30
    for level in range(depth):
        out.write(b"c__torch__\nM\n)\x81")
        if level == 0:
            out.write(b"}b")
        else:
            out.write(b"}(X\x01\0\0\0a" + bytes([ord("h"), level - 1]))
            out.write(b"X\x01\0\0\0b" + bytes([ord("h"), level - 1]) + b"ub")
        out.write(bytes([ord("q"), level]))
        if level < depth - 1:
            out.write(b"0")
    out.write(b".")
    with pytest.raises(CraftZooError, match="more than 100,000 modules"):
        read_checkpoint(archive(tmp_path / "w.pt", out.getvalue()))


@pytest.mark.parametrize("line", ["<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1"])
def test_a_text_in_place_of_weights_is_shown(tmp_path: Path, line: str) -> None:
    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).write_text(line + "\n")
        with pytest.raises(CraftZooError, match=re.escape(f"a text that begins with {line!r}")):
            read_checkpoint(tmp_path / name)
