"""Fuzzer of all readers of files and messages.

    python tests/fuzz/readers.py --minutes 60 --seed 1
    python tests/fuzz/readers.py --target plan --input crashers/plan-0123abcd/input

Valid inputs are changed: values in their JSON by hostile ones, bytes at random, pieces by pieces of
others. A reader may accept an input or refuse it with one of the project's own errors. Anything
else, more than 1 GB or more than 10 seconds is a crash: its input and traceback are kept, one for
each place in the code, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save

from craft_zoo.adapter import Adapter
from craft_zoo.anchors import Anchors, Background, BackgroundFile
from craft_zoo.benchmarks import Plan, RunSpec, read_plan, read_results, tidy
from craft_zoo.benchmarks.statistics import summarize
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.blackbox import Journal, load_vlm
from craft_zoo.client import RemoteVLM, Retrying
from craft_zoo.data import DatasetSpec, load_dataset
from craft_zoo.data.classnames import read_classnames
from craft_zoo.data.images import image_size, open_image
from craft_zoo.data.published.catalogue import published_datasets
from craft_zoo.data.published.split import parse_split
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import read_settings
from craft_zoo.optimizers import OptimizerError
from craft_zoo.protocol import (
    DIGEST_HEADER,
    decode_array,
    decode_files,
    digest,
    encode_array,
    encode_files,
)
from craft_zoo.records import sealed
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.network import Refiner
from craft_zoo.server.accounts import Accounts
from craft_zoo.server.bodies import parse
from craft_zoo.server.errors import Refusal
from craft_zoo.server.schemas import (
    Announcement,
    Opening,
    TaskRequest,
    Templates,
)
from craft_zoo.solution import Solution

MEMORY = 2**30  # limit in bytes, without the imported modules
SECONDS = 10  # limit for an input
OWN_ERRORS = (CraftZooError, OptimizerError, Refusal)

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, 10**9),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")),
    *("", " ", "\0", "\x1b[31mred", "\n", "a" * 5000, "{}", "{}{}", "../..", "/dev/zero", "é", "é"),
    *("\ud800", "\udcff", "\u202e", "😀", "1e999", "NaN", "null", "-", "__", "$x^", "=1+1", "%s"),
    *([], {}, [[]], [None], [[1, 2], [3]], {"": None}, {"a": {"a": {}}}, [0] * 1000),
]
PIECES = [
    *(
        b"\0",
        b"\xff",
        b"\n",
        b"\r\n",
        b",",
        b"\t",
        b'"',
        b"{",
        b"[" * 3000,
        b"}",
        b": ",
        b"&a ",
        b"*a",
    ),
    *(
        b"\0" * 64,
        b"\xff" * 8,
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"9" * 5000,
        b"\x7f\xff\xff\xff",
        b"!!int x",
    ),
]


class TooSlow(BaseException):
    """An input took longer than it may."""


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: of the reader.
        seeds: valid inputs.
        read: reads one in an empty folder.
        mutate: changes one in a way of its own; beside it, bytes are changed.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[bytes, Path], Any]
    mutate: Callable[[random.Random, bytes], bytes] | None = None


def changed_bytes(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """An input with some bytes flipped, cut off, repeated, put in, or taken from another one."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 2:
            del data[at : min(to, at + rng.choice((1, 4, 64, 10**9)))]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = rng.choice(PIECES)
        elif kind == 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.choice((0, 8, 64))] = other[start : start + rng.choice((8, 64, 512))]
        else:
            data[at:at] = data[at : min(to, at + 256)] * rng.choice((1, 2, 50))
    return bytes(data)


def changed_values(rng: random.Random, value: Any) -> Any:
    """Plain values with one somewhere in them changed."""
    children = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else []
    )
    if not children or rng.random() < 0.1:
        kind = rng.randrange(8)
        if kind == 0 and isinstance(value, str):
            at = rng.randrange(len(value) + 1)
            hostile = [each for each in HOSTILE if isinstance(each, str)]
            return value[:at] + rng.choice(hostile) + value[at:]
        if kind == 1:
            return [value] * rng.choice((1, 2, 300))
        if kind == 2:
            return nested(rng.choice((5, 90, 300)), value)
        return rng.choice(HOSTILE)
    key = rng.choice(list(children))
    changed = dict(value) if isinstance(value, dict) else list(value)
    kind = rng.randrange(12)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, dict):
        changed[str(rng.choice(HOSTILE))] = changed.pop(key)
    elif kind == 2 and isinstance(changed, dict):
        changed[rng.choice(["checksum", "x", "parts", "name"])] = rng.choice(HOSTILE)
    elif kind == 3 and isinstance(changed, list):
        changed = changed * rng.choice((2, 20))
    else:
        changed[key] = changed_values(rng, value[key])
    return changed


def nested(depth: int, value: Any) -> Any:
    """A value in so many lists."""
    for _ in range(depth):
        value = [value]
    return value


def changed_json(rng: random.Random, content: bytes) -> bytes:
    """JSON with one to three values changed."""
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = changed_values(rng, value)
    return json.dumps(value, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


# Adapters

NAMES = ("cat", "dog", "annual crop land")
_MODEL = load_vlm("craft-mini")
_BOX = _MODEL.classifier(NAMES)


def _adapters() -> list[bytes]:
    start = _BOX.initial_context
    anchors = Anchors(("sea", "wood"), ("a photo of a {}.", "a {}"))
    convex = ConvexRefiner(np.zeros((7, 3), np.float32), np.zeros(3, np.float32))
    solutions = [
        Solution(start),
        Solution(np.stack([start] * 3), Refiner(3, 4)),
        Solution("a {}", convex, anchors),
        Solution(("a {}", "b {}", "c {}"), ConvexRefiner(convex.weight[:3], convex.bias)),
        Solution(start, convex, Anchors(("sea", "wood"), np.stack([start] * 2))),
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for solution in solutions:
            Adapter.of(solution, _MODEL, _BOX).save(Path(folder) / "a")
            found.append((Path(folder) / "a").read_bytes())
    return found


def _read_adapter(content: bytes, folder: Path) -> None:
    path = folder / "adapter"
    path.write_bytes(content)
    Adapter.load(path).predict(_MODEL, [np.zeros((8, 8, 3), np.uint8)])


def _changed_adapter(rng: random.Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.7:
        about = json.loads(header["__metadata__"]["craft_zoo"])
        about.pop("checksum", None)  # otherwise nothing behind its check is reached
        about = changed_values(rng, about)
        header["__metadata__"]["craft_zoo"] = json.dumps(about)
    else:
        header = changed_values(rng, header)
    text = json.dumps(header).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + tensors


# Plans, settings, results

_PLAN = {
    "model": "craft-mini",
    "datasets": ["digits", {"name": "folder:colours", "classnames": "names.txt"}],
    "methods": ["zero-shot", "craft"],
    "optimizers": ["logit-gn", "cma"],
    "shots": [1, 2],
    "seeds": 2,
    "budgets": [100],
    "budgets_by_shots": {"1": 50, "2": 100},
    "settings": {"intrinsic_dim": 20, "scale": 2.0, "template": "a {}"},
    "variants": {"few": {"method": "craft-anchors", "settings": {"anchors": 16}}},
    "data_root": "data",
    "sampling": "coop",
    "transfer": ["digits"],
    "parts": {"a": {"seeds": [3, 4]}, "b": {"shots": 4, "budgets_by_shots": {"4": 200}}},
}
_TOML = b"""methods = ["zero-shot", "craft"]
seeds = 2
budgets = 100
[settings]
scale = 2
[[datasets]]
name = "digits"
[variants.few]
method = "craft-anchors"
settings = {anchors = 16}
"""
_YAML = b"""datasets:
  - digits
  - {name: "folder:x", classnames: names.txt}
methods: [zero-shot, craft]   # two
shots: [1, 2]
seeds: 2
settings: {intrinsic_dim: 20}
variants:
  no refiner: {method: prompt}
"""


def _read_plan(suffix: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        path = folder / f"plan.{suffix}"
        path.write_bytes(content)
        for run in Plan.of(read_plan(path)).runs(look=False):
            _ = run.identity, run.label

    return read


def _read_setting(content: bytes, _: Path) -> None:
    read_settings(json.loads(content.decode("utf-8", "replace")))


_RUN = RunSpec("craft-mini", DatasetSpec("digits"), "craft", "cma", 4, 1, 100, data="0123")
_POINTS = [Point(queries, 0.5, float("nan"), 0.5, 1, 2, 3, 0.25) for queries in (0, 10, 100)]


def _record() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        RunStore(Path(folder)).save(_RUN, _POINTS, None, transfer={"digits": 0.5})
        return next(Path(folder).glob("runs/*/run.json")).read_bytes()


def _changed_record(rng: random.Random, content: bytes) -> bytes:
    changed = json.loads(changed_json(rng, content))
    if isinstance(changed, dict) and rng.random() < 0.8:
        changed = json.loads(sealed(changed))
    return json.dumps(changed).encode()


def _background() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "background"
        described = {"fingerprint": "0"}
        Background("m", 9, ("a", "b", "c"), np.eye(3) - 1 / 3, described).save(path)
        return path.read_bytes()


def _read_background(content: bytes, folder: Path) -> None:
    path = folder / "background"
    path.write_bytes(content)
    known = BackgroundFile(path).load()
    known.whitening(known.words[:2])


def _read_record(content: bytes, folder: Path) -> None:
    path = folder / "runs" / "x" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    results = read_results(folder)
    summarize(tidy(results.curves, results.names))


def _read_config(content: bytes, folder: Path) -> None:
    RunStore(folder).save(_RUN, _POINTS, None)
    (folder / "config.json").write_bytes(content)
    results = read_results(folder)
    tidy(results.curves, results.names)


_CONFIG = json.dumps(
    {"runs": [_RUN.to_json() | {"name": "a"}], "environment": {"machine": "x", "packages": {}}}
).encode()


def _journal() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "journal") as journal:
            journal.note({"in_flight": 2})
            journal.ask(b"0" * 16, (1, 2, 3))
            journal.keep(np.ones((1, 2, 3), np.float32))
            journal.ask(b"1" * 16, (1, 2, 3))
        return (Path(folder) / "journal").read_bytes()


def _read_journal(content: bytes, folder: Path) -> None:
    (folder / "journal").write_bytes(content)
    with Journal(folder / "journal") as journal:
        journal.note({"in_flight": 2})
        if journal.answer(b"0" * 16, (1, 2, 3)) is None:
            journal.ask(b"0" * 16, (1, 2, 3))


# Data

_PIXELS = np.random.default_rng(0).integers(0, 255, (12, 10, 3), dtype=np.uint8)


def _image(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


_PNG = _image("PNG")
_IMAGES = [
    *(_PNG, _image("PNG", "P"), _image("PNG", "L"), _image("PNG", "RGBA"), _image("PNG", "1")),
    *(_image("JPEG"), _image("JPEG", "CMYK"), _image("JPEG", progressive=True), _image("GIF", "P")),
    *(_image("BMP"), _image("TIFF"), _image("TIFF", "F"), _image("TIFF", compression="tiff_lzw")),
    *(_image("WEBP"), _image("WEBP", lossless=True), _image("PPM"), _image("ICO"), _image("TGA")),
]


def _read_image(content: bytes, folder: Path) -> None:
    path = folder / "image.png"
    path.write_bytes(content)
    image_size(path)
    open_image(path)


def _write(folder: Path, files: Any) -> None:
    """Files of a description, as far as a file system can have them."""
    for name, content in files.items() if isinstance(files, dict) else ():
        parts = [
            part for part in str(name).replace("\0", "").split("/") if part not in ("", ".", "..")
        ]
        try:
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(str(content)))
        except (OSError, ValueError):
            continue


def _folder() -> bytes:
    image = base64.b64encode(_PNG).decode()
    names = [f"{part}/{name}/{n}.png" for part in ("train", "test") for name in "ab" for n in "12"]
    return json.dumps(dict.fromkeys(names, image)).encode()


def _read_folder(content: bytes, folder: Path) -> None:
    try:
        files = json.loads(content)
    except (ValueError, RecursionError):
        files = {"train/a/1.png": base64.b64encode(content).decode()}
    (folder / "data").mkdir()
    _write(folder / "data", files)
    load_dataset(f"folder:{folder / 'data'}", skip_bad=len(content) % 2 == 0)


_TABLE = pd.DataFrame(
    {
        "path": [f"{letter}.png" for letter in "abcdefgh"],
        "label": ["cat", "dog"] * 4,
        "split": ["train"] * 4 + ["test"] * 4,
        "classname": ["a cat", "a dog"] * 4,
    }
)


def _parquet() -> list[bytes]:
    tables = [_TABLE, _TABLE.assign(label=[0, 1] * 4), _TABLE.assign(label=[0.0, 1.0] * 4)]
    tables.append(_TABLE.assign(label=[["a"], ["b"]] * 4))
    found = []
    for table in tables:
        file = io.BytesIO()
        table.to_parquet(file)
        found.append(file.getvalue())
    return found


def _read_manifest(suffix: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        for name in "abcdefgh":
            (folder / f"{name}.png").write_bytes(_PNG)
        path = folder / f"table.{suffix}"
        path.write_bytes(content)
        load_dataset(f"manifest:{path}", skip_bad=len(content) % 2 == 0)

    return read


def _read_names(content: bytes, folder: Path) -> None:
    (folder / "names.txt").write_bytes(content)
    read_classnames(folder / "names.txt")


_PUBLISHED = published_datasets()["caltech101"]
_SPLIT = json.dumps(
    {part: [["a/1.jpg", 0, "a"], ["b/1.jpg", 1, "b"]] for part in ("train", "val", "test")}
).encode()


def _read_split(content: bytes, folder: Path) -> None:
    (folder / "split.json").write_bytes(content)
    parse_split(folder / "split.json", _PUBLISHED)


# The protocol

_KEYS = json.dumps({"ann": {"key_sha256": "0" * 64, "quota": 5}}).encode()
_BODIES: list[tuple[type[Any], dict[str, Any]]] = [
    (Announcement, {"images": ["0" * 64]}),
    (Opening, {"classnames": ["a", "b"], "init": "a {}"}),
    (Templates, {"templates": ["a {}", ["a {}", "b {}"]]}),
    (TaskRequest, {"inputs": "aGk=", "parameters": {"candidate_labels": ["a", "b"]}}),
]


def _read_keys(content: bytes, folder: Path) -> None:
    (folder / "keys.json").write_bytes(content)
    Accounts.read(folder / "keys.json")


def _read_bodies(content: bytes, _: Path) -> None:
    for model, _valid in _BODIES:
        try:
            parse(model, content)
        except OWN_ERRORS:
            continue


def _answers() -> bytes:
    limits = {"contexts": 4, "images": 10, "answer_bytes": 10**6, "body_bytes": 10**6}
    about = {"name": "m", "image_size": 8, "in_flight": 4, "accepts": ["contexts", "texts"]}
    about |= {"answers": "logits", "top_k": None, "limits": limits}
    return json.dumps(
        {
            "/v1/model": about,
            "/v1/usage": {"predictions": 1, "scores": 2, "requests": 3, "quota": 4, "remaining": 5},
            "/v1/image-sets": {"id": "i", "missing": [0]},
            "/images": {"missing": []},
            "/v1/classifiers": {
                "id": "c",
                "template": "a {}",
                "classnames": ["a", "b"],
                "shape": [2, 3],
            },
            "/initial-context": base64.b64encode(encode_array(np.ones((2, 3)))).decode(),
            "/scores": base64.b64encode(encode_array(np.ones((1, 1, 2)))).decode(),
            "status": 200,
            "headers": {"content-type": "application/json"},
        }
    ).encode()


def _read_answers(content: bytes, _: Path) -> None:
    """A client of a server that answers as described."""
    try:
        about = json.loads(content)
    except (ValueError, RecursionError):
        about = {}
    if not isinstance(about, dict):
        about = {}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        found = next(
            (about[end] for end in about if end[:1] == "/" and path.endswith(end)), content
        )
        if isinstance(found, str) and path.endswith(("/initial-context", "/scores")):
            try:
                body = base64.b64decode(found)
            except ValueError:
                body = found.encode("utf-8", "replace")
        else:
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
        status, extra = about.get("status"), about.get("headers")
        extra = extra if isinstance(extra, dict) else {}
        named = {
            str(k).encode("ascii", "replace"): str(v).encode("latin-1", "replace")
            for k, v in extra.items()
        }
        headers = [*named.items(), (DIGEST_HEADER.encode(), digest(body).encode())]
        code = status if type(status) is int and 200 <= status < 600 else 200
        return httpx.Response(code, headers=headers, content=body)

    patient = Retrying(attempts=3, sleep=lambda _: None)
    model = RemoteVLM(
        "http://127.0.0.1:9", api_key="k", transport=httpx.MockTransport(answer), retrying=patient
    )
    box = model.classifier(["a", "b"], "a {}")
    box.score(box.initial_context, model.images([_PIXELS]))
    model.usage()


# Checkpoints


def _read_checkpoint(content: bytes, folder: Path) -> None:
    from craft_zoo.openclip.checkpoint import read_checkpoint

    (folder / "weights.pt").write_bytes(content)
    read_checkpoint(folder / "weights.pt")


def _checkpoints() -> list[bytes]:
    state = {"visual.proj": torch.ones(4, 4), "logit_scale": torch.ones(())}
    found = [save(state)]
    for value in (
        state,
        {"state_dict": state, "epoch": 3},
        {f"module.{k}": v for k, v in state.items()},
    ):
        file = io.BytesIO()
        torch.save(value, file)
        found.append(file.getvalue())
    return found


def targets() -> dict[str, Target]:
    """All readers by name."""
    csv, tsv = (_TABLE.to_csv(index=False, sep=sign).encode() for sign in ",\t")
    yaml = json.dumps(_PLAN).encode()
    found = [
        Target("adapter", _adapters(), _read_adapter, _changed_adapter),
        Target("plan", [yaml], _read_plan("yaml"), changed_json),
        Target("plan-yaml", [_YAML], _read_plan("yaml")),
        Target("plan-toml", [_TOML], _read_plan("toml")),
        Target("record", [_record()], _read_record, _changed_record),
        Target("config", [_CONFIG], _read_config, _changed_record),
        Target("background", [_background()], _read_background, _changed_record),
        Target("journal", [_journal()], _read_journal),
        Target("image", _IMAGES, _read_image),
        Target("folder", [_folder()], _read_folder, changed_json),
        Target("manifest-csv", [csv], _read_manifest("csv")),
        Target("manifest-tsv", [tsv], _read_manifest("tsv")),
        Target("manifest-parquet", _parquet(), _read_manifest("parquet")),
        Target("classnames", [b"a\tthe a\nb the b\n# c\n"], _read_names),
        Target("split", [_SPLIT], _read_split, changed_json),
        Target("keys", [_KEYS], _read_keys, changed_json),
        Target("wire-array", [encode_array(_PIXELS)], lambda content, _: decode_array(content)),
        Target(
            "wire-files",
            [encode_files({0: b"one", 7: b"seven"})],
            lambda content, _: decode_files(content),
        ),
        Target("bodies", [json.dumps(b).encode() for _, b in _BODIES], _read_bodies, changed_json),
        Target("answers", [_answers()], _read_answers, changed_json),
    ]
    try:
        import craft_zoo.openclip.checkpoint  # noqa: F401

        found.append(Target("checkpoint", _checkpoints(), _read_checkpoint))
    except ImportError:
        pass
    return {target.name: target for target in found}


def inputs(target: Target, rng: random.Random) -> Iterator[bytes]:
    """Changed inputs without end."""
    while True:
        content = rng.choice(target.seeds)
        ways = rng.choice((1, 2, 3)) if target.mutate else 2
        if ways & 1:
            assert target.mutate is not None
            content = target.mutate(rng, content)
        if ways & 2:
            content = changed_bytes(rng, content, target.seeds)
        yield content


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(target: Target, content: bytes) -> tuple[str, str]:
    """What became of an input: accepted, refused or crashed, and for the last its traceback."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with warnings.catch_warnings(), _time_limit():
            warnings.simplefilter("ignore")
            target.read(content, folder)
        return "accepted", ""
    except OWN_ERRORS:
        return "refused", ""
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "crashed", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_of(report: str) -> str:
    """What tells one crash from another: its kind and the lines of ours that it came through."""
    lines = [line.strip() for line in report.splitlines()]
    ours = [line for line in lines if line.startswith("File") and "fuzz" not in line]
    kind = next((line for line in reversed(lines) if line), "").partition(":")[0]
    return "\n".join([kind, *ours[-3:]])


def keep(folder: Path, target: Target, content: bytes, report: str) -> bool:
    """Write a crash down, unless there is one of its place already."""
    name = hashlib.sha256(place_of(report).encode()).hexdigest()[:8]
    place = folder / f"{target.name}-{name}"
    if place.exists():
        return False
    place.mkdir(parents=True)
    (place / "input").write_bytes(content)
    (place / "traceback").write_text(report, errors="backslashreplace")
    print(f"CRASH {place}: {report.strip().splitlines()[-1][:200]}", flush=True)
    return True


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _child(target: Target, seed: str, seconds: float, folder: Path, current: Path) -> None:
    """Try inputs for so long; what is being tried lies in ``current``, should this process die."""
    most = _size() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found: Counter[str] = Counter()
    began = time.monotonic()
    for content in inputs(target, random.Random(seed)):
        current.write_bytes(content)
        outcome, report = attempt(target, content)
        found[outcome] += 1
        if outcome == "crashed":
            keep(folder, target, content, report)
        if time.monotonic() - began > seconds:
            break
    current.with_suffix(".counts").write_text(json.dumps(found))


def run(minutes: float, seed: int, folder: Path, names: list[str]) -> int:
    """Fuzz all targets by turns.

    Returns:
        The exit code: 1 where something has crashed.
    """
    known = targets()
    chosen = [known[name] for name in names or known]
    ends, turn, totals = (
        time.monotonic() + 60 * minutes,
        0,
        {name: Counter[str]() for name in known},
    )
    gc.collect()
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = name  # what a process that dies has left there goes with it
        current = Path(name) / "current"
        while time.monotonic() < ends:
            target = chosen[turn % len(chosen)]
            seconds = min(10.0, max(1.0, 60 * minutes / len(chosen) / 4))
            began = time.monotonic()
            child = os.fork()
            if not child:
                try:
                    _child(target, f"{seed}/{turn}", seconds, folder, current)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            spent[target.name] += time.monotonic() - began
            counts = current.with_suffix(".counts")
            if status or not counts.exists():
                keep(folder, target, current.read_bytes(), f"the process died: status {status}")
                totals[target.name]["crashed"] += 1
            else:
                totals[target.name].update(json.loads(counts.read_text()))
                counts.unlink()
            turn += 1
    for target in chosen:
        counts = totals[target.name]
        rate = sum(counts.values()) / max(spent[target.name], 1e-9)
        print(
            f"{target.name:17} {rate:7.0f} inputs/s, {counts['accepted']:,} accepted, "
            f"{counts['refused']:,} refused, {counts['crashed']:,} crashed"
        )
    print(f"{sum(sum(counts.values()) for counts in totals.values()):,} inputs in all")
    return int(any(counts["crashed"] for counts in totals.values()))


def main() -> int:
    """Carry the command out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("crashers"), help="folder of crashes")
    parser.add_argument("--target", action="append", default=[], help="repeatable (default: all)")
    parser.add_argument("--input", type=Path, help="try this file on the target, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.input is not None:
        outcome, report = attempt(targets()[options.target[0]], options.input.read_bytes())
        print(outcome, report)
        return int(outcome == "crashed")
    return run(options.minutes, options.seed, options.out, options.target)


if __name__ == "__main__":
    sys.exit(main())
