"""The file format of adapters, docs/reference/adapter-file.md: a checked header, and tensors."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.templates import as_template
from craft_zoo.canaries import Canaries
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.local_features import LocalClassifier
from craft_zoo.records import CHECKSUM, check, checksum, parse, seal_holds, short
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.transductive import TransductiveClassifier
from craft_zoo.solution import Solution
from craft_zoo.tuning_record import TuningRecord

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter
    from craft_zoo.refiner.network import Refiner

FORMAT = "craft-zoo adapter 12"
_READ = tuple(f"craft-zoo adapter {version}" for version in range(3, 13))
_ENTRY = "craft_zoo"  # of the metadata
_HEADER_BYTES = 2**24  # generous: the class names of ImageNet-21k take half a megabyte
_MOST_TEXTS = 100_000
_LARGEST = 1e18  # of all numbers; the products of larger ones overflow
_TEXT_CHARACTERS = 2000  # longer than the context of any model
_CANARY_ANSWERS = ("logits", "anchors", "logits_again", "anchors_again")
_TRANSDUCTIVE = ("means", "images", "log_prior")


def _plain(text: str) -> str:
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("holds a control character")
    return text


def _prompt(text: str) -> str:
    as_template(text)
    return text


_Text = Annotated[str, Field(min_length=1, max_length=_TEXT_CHARACTERS), AfterValidator(_plain)]
_Template = Annotated[_Text, AfterValidator(_prompt)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Hidden(BaseModel):
    """Header entry of the network refiner: the width of its hidden layer."""

    model_config = ConfigDict(extra="forbid")

    hidden: Annotated[int, Field(ge=1)]


class Texts(BaseModel):
    """What of the header is known, and can be checked, before the adapter is tuned."""

    init: _Template
    classnames: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TEXTS)]


class Header(Texts):
    """Header of an adapter file: JSON text in the metadata of safetensors."""

    model_config = ConfigDict(extra="forbid")

    format: str
    model: _Text
    # Empty for models that accept only words.
    fingerprint: Annotated[list[_Number], Field(max_length=16)]
    template: _Template | list[_Template] | None = None
    refiner: Literal["convex"] | _Hidden | None
    anchors: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TEXTS)] | None
    anchor_templates: Annotated[list[_Template], Field(min_length=1)] | None = None
    local: _Text | None = None
    # Beyond these, probabilities in float32 would be NaN, or equal for all classes.
    temperature: Annotated[_Number, Field(ge=1e-6, le=1e6)] = 1.0
    tuned: TuningRecord | None = None
    answer_options: _Text | None = None
    served: Annotated[dict[_Text, _Text], Field(min_length=1, max_length=16)] | None = None
    decimals: Annotated[int, Field(ge=1, le=12)] | None = None
    checksum: str | None = None


def header_schema() -> dict[str, Any]:
    """JSON schema of the header of adapter files."""
    return Header.model_json_schema()


def _check_length(path: str | Path) -> None:
    """Check the length of a file's header, which safetensors would read whole into memory.

    Raises:
        OSError: the file cannot be read.
        ValueError: the header is too long.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _HEADER_BYTES:
        raise ValueError("it does not begin with a header")


def _check_tensors(about: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Check that the tensors of an adapter are those that its header describes.

    Args:
        about: the header.
        tensors: safetensors slices by name, which have shape and type.

    Raises:
        ValueError: a tensor is missing, unexpected, or has a wrong shape or type.
    """
    shapes = {name: tuple(each.get_shape()) for name, each in tensors.items()}
    for name, each in tensors.items():
        expected_type = "U8" if name == "canaries.images" else "F32"
        if each.get_dtype() != expected_type:
            kinds = f"{each.get_dtype()}, not {expected_type}"
            raise ValueError(f"{short(name)} is of type {kinds}")
    n_classes, refiner, anchors = len(about["classnames"]), about["refiner"], about["anchors"]
    expected: dict[str, tuple[int, ...]] = {}
    n_anchors, template = 0, about.get("template")
    if template is None:
        expected["context"] = shape = _shape("context", shapes)
        if len(shape) not in (2, 3) or 0 in shape or shape[:-2] not in ((), (n_classes,)):
            raise ValueError(f"it has contexts of shape {shape} for {n_classes} classes")
    elif isinstance(template, list) and len(template) != n_classes:
        raise ValueError(f"it has {len(template)} templates for {n_classes} classes")
    if anchors is not None:
        prompts = len(about.get("anchor_templates") or ())
        if not prompts:
            expected["anchors.contexts"] = shape = _shape("anchors.contexts", shapes)
            if len(shape) not in (3, 4) or 0 in shape:
                raise ValueError(f"it has anchor contexts of shape {shape}")
            prompts = shape[0]
        n_anchors = prompts * len(anchors)
    elif about.get("anchor_templates") is not None:
        raise ValueError("it has templates for anchors, but no anchors")
    if refiner == "convex":
        expected["refiner.weight"] = (n_classes + n_anchors, n_classes)
        expected["refiner.bias"] = (n_classes,)
    elif anchors is not None:
        raise ValueError("it has anchors, but no refiner that uses them")
    elif refiner is not None:
        hidden = refiner["hidden"]
        expected |= {
            "refiner.net.0.weight": (hidden, n_classes),
            "refiner.net.0.bias": (hidden,),
            "refiner.net.2.weight": (n_classes, hidden),
            "refiner.net.2.bias": (n_classes,),
        }
    if n_anchors and "transductive.means" in shapes:
        expected["transductive.means"] = (n_classes, n_anchors)
        expected |= {f"transductive.{each}": (n_classes,) for each in ("images", "log_prior")}
    if about.get("local") is not None:
        shape = _shape("local.weight", shapes)
        expected |= {"local.weight": (*shape[:1], n_classes), "local.bias": (n_classes,)}
    if "canaries.images" in shapes:
        shape = shapes["canaries.images"]
        if len(shape) != 4 or 0 in shape or shape[3] != 3:
            raise ValueError(f"it has canaries of shape {shape}")
        expected["canaries.images"] = shape
        for again in ("", "_again") if "canaries.logits_again" in shapes else ("",):
            expected[f"canaries.logits{again}"] = (shape[0], n_classes)
            if anchors is not None:
                expected[f"canaries.anchors{again}"] = (shape[0], n_anchors)
    for name, shape in expected.items():
        if _shape(name, shapes) != shape:
            raise ValueError(f"{name} has the shape {shapes[name]}, not {shape}")
    surplus = shapes.keys() - expected.keys()
    if surplus:
        raise ValueError(f"the tensor {short(min(surplus))} is unexpected")


def _shape(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(f"the tensor {name} is missing")
    return shapes[name]


def _checked_parts(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors of a file; the header is checked completely before any tensor is read.

    Raises:
        CraftZooError: the file has another format, or was changed since it was written.
        OSError: the file cannot be read.
        SafetensorError, KeyError, ValueError: it is no adapter.
    """
    _check_length(path)
    with safe_open(path, framework="np") as file:
        about = parse((file.metadata() or {})[_ENTRY])
        if about.get("format") not in _READ:
            raise CraftZooError(
                f"{path} has the format {short(about.get('format'))}, this version reads "
                f"{FORMAT!r} and older: tune again or use the version that wrote it"
            )
        check(Header, about)
        _check_tensors(about, {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not seal_holds(about, _content(tensors)):
        raise CraftZooError(
            f"the adapter {path} does not match its checksum, it was changed since it was "
            f"written: copy it again, or make it again with craft-zoo tune"
        )
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinity")
        if tensor.dtype == np.float32 and np.abs(tensor).max(initial=0) > _LARGEST:
            raise ValueError(f"{name} holds numbers beyond {_LARGEST:g}")
    return about, tensors


def _solution(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Solution:
    """The solution from a header and tensors that :func:`_checked_parts` returns."""
    prompt = about.get("template")
    if prompt is None:
        prompt = tensors["context"]
    elif isinstance(prompt, list):
        prompt = tuple(prompt)
    anchors = None
    if about["anchors"] is not None:
        prompts = about.get("anchor_templates") or tensors["anchors.contexts"]
        anchors = Anchors(tuple(about["anchors"]), prompts)
    refiner: Refiner | ConvexRefiner | None = None
    if about["refiner"] == "convex":
        weight, bias = (tensors[f"refiner.{name}"] for name in ("weight", "bias"))
        refiner = ConvexRefiner(weight, bias)
    elif about["refiner"] is not None:
        with needs_extra("torch", "the network refiner of the adapter"):
            import torch

            from craft_zoo.refiner.network import Refiner
        refiner = Refiner(len(about["classnames"]), about["refiner"]["hidden"])
        refiner.load_state_dict(
            {
                name.removeprefix("refiner."): torch.tensor(tensor)
                for name, tensor in tensors.items()
                if name.startswith("refiner.")
            }
        )
    local = None
    if (features := about.get("local")) is not None:
        weight, bias = (tensors[f"local.{name}"] for name in ("weight", "bias"))
        local = LocalClassifier(features, weight, bias)
    transductive = None
    if "transductive.means" in tensors:
        parts = (tensors[f"transductive.{name}"] for name in _TRANSDUCTIVE)
        transductive = TransductiveClassifier(*parts)
    return Solution(prompt, refiner, anchors, local, transductive)


def _record(about: dict[str, Any]) -> TuningRecord | None:
    tuned = about.get("tuned")
    if tuned is None:
        return None
    if (curve := tuned.get("curve")) is not None:
        curve = tuple((queries, float(accuracy)) for queries, accuracy in curve)
    return TuningRecord(**tuned | {"curve": curve})


def _canaries(tensors: dict[str, np.ndarray]) -> Canaries | None:
    if "canaries.images" not in tensors:
        return None
    first, *others = (f"canaries.{name}" for name in _CANARY_ANSWERS)
    return Canaries(tensors["canaries.images"], tensors[first], *map(tensors.get, others))


def read(path: str | Path) -> dict[str, Any]:
    """The arguments of :class:`Adapter` from a file.

    Raises:
        CraftZooError: the file is missing, is no adapter, or was changed since it was written.
    """
    try:
        about, tensors = _checked_parts(path)
        return {
            "solution": _solution(about, tensors),
            "classnames": tuple(about["classnames"]),
            "model": about["model"],
            "fingerprint": tuple(float(value) for value in about["fingerprint"]),
            "init": about["init"],
            "temperature": about.get("temperature", 1.0),
            "tuned": _record(about),
            "canaries": _canaries(tensors),
            "answer_options": about.get("answer_options") or "",
            "served": about.get("served") or {},
            "decimals": about.get("decimals"),
        }
    except CraftZooError:
        raise
    except FileNotFoundError:
        raise CraftZooError(f"adapter {path} does not exist: check the path") from None
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise CraftZooError(
            f"{path} is not an adapter of craft-zoo ({error}): make one with craft-zoo tune"
        ) from None


def parts_of(adapter: Adapter) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header, with the checksum of all, and tensors of an adapter's file."""
    solution = adapter.solution
    refiner, anchors, local = solution.refiner, solution.anchors, solution.local
    about: dict[str, Any] = {
        "format": FORMAT,
        "model": adapter.model,
        "fingerprint": list(adapter.fingerprint),
        "init": adapter.init,
        "classnames": list(adapter.classnames),
        "template": None,
        "refiner": None,
        "anchors": None if anchors is None else list(anchors.texts),
    }
    if adapter.temperature != 1:
        about["temperature"] = float(adapter.temperature)
    if adapter.answer_options:
        about["answer_options"] = adapter.answer_options
    if adapter.served:
        about["served"] = adapter.served
    if adapter.decimals is not None:
        about["decimals"] = adapter.decimals
    if adapter.tuned is not None:
        about["tuned"] = asdict(adapter.tuned)
    tensors: dict[str, np.ndarray] = {}
    if isinstance(solution.prompt, np.ndarray):
        tensors["context"] = _tensor(solution.prompt)
    else:  # JSON writes a tuple as a list
        about["template"] = solution.prompt
    if anchors is not None and isinstance(anchors.prompts, np.ndarray):
        tensors["anchors.contexts"] = _tensor(anchors.prompts)
    elif anchors is not None:
        about["anchor_templates"] = list(anchors.prompts)
    if isinstance(refiner, ConvexRefiner):
        about["refiner"] = "convex"
        tensors["refiner.weight"] = _tensor(refiner.weight)
        tensors["refiner.bias"] = _tensor(refiner.bias)
    elif refiner is not None:
        about["refiner"] = {"hidden": refiner.hidden}
        tensors |= {
            f"refiner.{name}": _tensor(value) for name, value in refiner.state_dict().items()
        }
    if local is not None:
        about["local"] = local.features
        tensors["local.weight"] = _tensor(local.weight)
        tensors["local.bias"] = _tensor(local.bias)
    if (transductive := solution.transductive) is not None:
        for name in _TRANSDUCTIVE:
            tensors[f"transductive.{name}"] = _tensor(getattr(transductive, name))
    if (canaries := adapter.canaries) is not None:
        tensors["canaries.images"] = np.ascontiguousarray(canaries.images)
        for name in _CANARY_ANSWERS:
            if (answers := getattr(canaries, name)) is not None:
                tensors[f"canaries.{name}"] = _tensor(answers)
    about = json.loads(json.dumps(about))  # tuples become lists
    return about | {CHECKSUM: checksum(about, _content(tensors))}, tensors


def _tensor(array: np.ndarray) -> np.ndarray:
    # Of safetensors' arrays, only contiguous ones are written in the right order.
    return np.ascontiguousarray(array, dtype=np.float32)


def check_header(about: dict[str, Any]) -> None:
    """Check that a header can be read again.

    Raises:
        CraftZooError: it cannot.
    """
    try:
        check(Header, about)
    except ValueError as error:
        raise CraftZooError(
            f"the adapter cannot be saved, as it could not be read again: {error}"
        ) from None


def to_bytes(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a file."""
    return save(tensors, metadata={_ENTRY: json.dumps(about)})


def _content(tensors: dict[str, np.ndarray]) -> Iterator[bytes]:
    """Bytes of the names, shapes and values of tensors, for the checksum."""
    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tuple(tensor.shape)} ".encode()
        yield tensor.tobytes()
