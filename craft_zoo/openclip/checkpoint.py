"""Loads checkpoint files without running code that they contain.

From pickles, only tensors and plain values are built. Known types that are often saved with the
weights (numpy numbers, arguments of training scripts) are skipped; other types are refused.
"""

from __future__ import annotations

import io
import pickle
import re
import textwrap
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import convert_to_custom_text_state_dict
from open_clip.model import resize_pos_embed, resize_text_pos_embed
from safetensors.torch import load_file
from torch import Tensor

from craft_zoo.errors import CraftZooError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_PREFIXES = ("module.", "model.", "clip_model.")
# Keys besides the weights in OpenAI's archives and in state dicts saved from them.
_OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
_NAMED = 4  # maximum number of keys in an error message
_MOST_UNPACKED = 2**26  # bytes that the compressed program of an archive may add to the file's size
_MOST_MODULES = 100_000  # of an archive, where a few hundred modules may nest to 2^100 paths


class Checkpoint(NamedTuple):
    """Content of a checkpoint file.

    Attributes:
        weights: tensors by parameter name.
        quick_gelu: whether the model uses QuickGELU; None: the file does not show it.
    """

    weights: dict[str, Tensor]
    quick_gelu: bool | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights from a safetensors file, a torch checkpoint or a TorchScript archive.

    OpenAI's weights are TorchScript archives.

    Raises:
        CraftZooError: the file is broken, holds no weights, or holds types that are refused.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:  # an unreadable path raises here, later OSErrors mean broken ones
        begin = file.readline(80).rstrip()
    try:
        loaded, quick_gelu = _read(path)
    except CraftZooError:
        raise
    except Exception as error:  # torch, zipfile and safetensors raise many types for broken files
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if begin.isascii() and begin.decode().isprintable() and begin:  # a web page, Git LFS
            reason = f"it is a text that begins with {begin.decode()!r}"
        raise CraftZooError(
            f"it is broken, or no file that torch or safetensors has written "
            f"({textwrap.shorten(reason, 160, placeholder=' …')})"
        ) from error
    while isinstance(loaded, dict):
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), dict)), None)
        if inner is None:
            break
        loaded = inner
    names = loaded if isinstance(loaded, dict) else {}
    weights = _plain_names({k: v for k, v in names.items() if isinstance(v, Tensor)})
    if quick_gelu is None and any(key in names or key in weights for key in _OPENAI_KEYS):
        quick_gelu = True
    for key in _OPENAI_KEYS:
        weights.pop(key, None)
    if not weights:
        raise CraftZooError("it holds no weights by name, as a state dict does")
    return Checkpoint(weights, quick_gelu)


def _read(path: Path) -> tuple[Any, bool | None]:
    """The content of a file; whether its model uses QuickGELU, or None if it does not show it."""
    if path.suffix == ".safetensors":
        return load_file(path), None
    if not zipfile.is_zipfile(path):
        return _read_torch(path, mmap=False), None
    with zipfile.ZipFile(path) as archive:
        _check_unpacked(archive, path)
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return _read_torchscript(archive)
    return _read_torch(path, mmap=True), None


def load_weights(model: Any, weights: dict[str, Tensor]) -> list[str]:
    """Load weights into an open_clip model, with the conversions of open_clip's own loader.

    Returns:
        A sentence about each tensor that was resized to fit.

    Raises:
        CraftZooError: keys are missing or surplus, or shapes differ; the message names the first.
    """
    weights = convert_state_dict(model, dict(weights))
    if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
        weights = convert_to_custom_text_state_dict(weights)
    own = model.state_dict()
    for key in ("logit_scale", "logit_bias"):  # scalars, or tensors with one element
        if key in weights and key in own and weights[key].numel() == own[key].numel():
            weights[key] = weights[key].reshape(own[key].shape)
    if "logit_bias" in own and "logit_bias" not in weights:
        weights["logit_bias"] = torch.zeros_like(own["logit_bias"])
    # Archives and older checkpoints may hold buffers that the model computes and does not save.
    computed = {name for name, _ in model.named_buffers()} | {
        "text.transformer.embeddings.position_ids"
    }
    weights = {key: value for key, value in weights.items() if key in own or key not in computed}
    before = {key: value.shape for key, value in weights.items()}
    for resize in (resize_pos_embed, resize_text_pos_embed):
        with suppress(AttributeError, AssertionError, RuntimeError):  # shapes are compared below
            resize(weights, model)
    misfits = _misfits(own, weights)
    if misfits:
        raise CraftZooError("; ".join(misfits))
    model.load_state_dict(weights)
    return [
        f"{key} was resized from {_shape(before[key])} to {_shape(value.shape)}, as the weights "
        f"are of images or texts of another size than the architecture takes, and answers may be "
        f"worse: choose the architecture that they were trained as"
        for key, value in weights.items()
        if before[key] != value.shape
    ]


def _misfits(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in own if key not in weights]
    surplus = [key for key in weights if key not in own]
    other = [
        f"{key} {_shape(weights[key].shape)} instead of {_shape(own[key].shape)}"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    coded = [
        f"{key} ({str(weights[key].dtype).removeprefix('torch.')})"
        for key in own
        if key in weights and own[key].is_floating_point() and _is_coded(weights[key])
    ]
    kinds = {
        "keys of the model are missing": missing,
        "keys are surplus": surplus,
        "have another shape": other,
        "are quantised, sparse or no real numbers, which are not read": coded,
    }
    return [f"{len(keys):,} {what}: {_some(keys)}" for what, keys in kinds.items() if keys]


def _is_coded(weights: Tensor) -> bool:
    """Whether a tensor does not hold its values as floating-point numbers; a scalar may not."""
    plain = weights.is_floating_point() and weights.layout == torch.strided
    return weights.numel() > 1 and not plain


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", …" if len(keys) > _NAMED else "")


def _shape(shape: torch.Size) -> str:
    return f"({', '.join(str(side) for side in shape)})"


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip the prefixes that torch.compile and module wrappers add to names."""
    names = {key: key.replace("_orig_mod.", "") for key in weights}
    while prefix := next(
        (each for each in _PREFIXES if names and all(n.startswith(each) for n in names.values())),
        None,
    ):
        names = {key: name.removeprefix(prefix) for key, name in names.items()}
    plain = {names[key]: value for key, value in weights.items()}
    if len(plain) < len(weights):
        raise CraftZooError("it holds the same weights twice, with a prefix and without")
    return plain


class _Skipped:
    """Placeholder for an object that is skipped."""

    def __new__(cls, *_args: Any) -> _Skipped:
        return super().__new__(cls)

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


_BESIDE_WEIGHTS = (
    *("numpy.dtype", "numpy.ndarray"),
    *("numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct"),
    *("numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"),
    "argparse.Namespace",
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"),
    *("pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
)


def _read_torch(path: Path, *, mmap: bool) -> Any:
    """Load tensors and plain values from a file of :func:`torch.save`."""
    skipped: list[Any] = [(_Skipped, name) for name in _BESIDE_WEIGHTS]
    try:
        with torch.serialization.safe_globals(skipped):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise _not_read(found[1]) from None
        raise


def _not_read(what: str) -> CraftZooError:
    return CraftZooError(
        f"it holds {what}, which is not read, as that could run a program: save the model's "
        f"state_dict alone"
    )


def _check_unpacked(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse archives that unpack to much more than the file's size; torch does not compress."""
    unpacked = sum(record.file_size for record in archive.infolist())
    if unpacked > path.stat().st_size + _MOST_UNPACKED:
        raise CraftZooError(
            f"it unpacks to {unpacked:,} bytes, and torch compresses no weights: save it again"
        )


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Module:
    """Placeholder for a module of a TorchScript archive: its attributes by name."""

    qualified_name = ""
    attributes: Mapping[str, Any]

    def __new__(cls, *_args: Any) -> _Module:
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


# The pure Python unpickler, because the C one allocates memory of sizes that the file specifies.
class _ArchiveUnpickler(pickle._Unpickler):
    """Unpickles only the modules and tensors of a TorchScript archive."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}
        self._classes: dict[str, type[_Module]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module == "__torch__" or module.startswith("__torch__."):
            if full not in self._classes:
                self._classes[full] = type("_Module", (_Module,), {"qualified_name": full})
            return self._classes[full]
        known: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _rebuilt,
        }
        if full in known:
            return known[full]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":  # builds lists of numbers, which are not weights
            return _Skipped
        raise _not_read(full)

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            if len(data) < count * dtype.itemsize:
                raise CraftZooError(f"its record {key} is too short")
            self._storages[key] = (
                torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0)
            )
        return self._storages[key]


def _rebuilt(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


_SAVED = re.compile(
    r"^class (\w+)\(Module\):\s+__parameters__ = \[(.*?)\]\s+__buffers__ = \[(.*?)\]", re.M | re.S
)


def _read_torchscript(archive: zipfile.ZipFile) -> tuple[dict[str, Tensor], bool]:
    """Parameters and buffers of a TorchScript archive, and whether its model uses QuickGELU.

    The archive's program is not run. Its modules are traversed, and its source text shows the
    activation: it either calls ``gelu``, or uses the sigmoid of QuickGELU.
    """
    root = next(name for name in archive.namelist() if name.endswith("/constants.pkl"))
    root = root.removesuffix("/constants.pkl")
    saved: dict[str, set[str]] = {}
    gelu = False
    for name in archive.namelist():
        if name.startswith(f"{root}/code/") and name.endswith(".py"):
            code = archive.read(name).decode("utf-8", "replace")
            gelu = gelu or re.search(r"\bgelu_?\(", code) is not None
            package = name.removeprefix(f"{root}/code/").removesuffix(".py").replace("/", ".")
            for cls, *lists in _SAVED.findall(code):
                saved[f"{package}.{cls}"] = set(re.findall(r'"([^"]*)"', " ".join(lists)))
    weights: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", _ArchiveUnpickler(archive, root).load())]
    for _ in range(_MOST_MODULES):
        if not waiting:
            return weights, not gelu
        prefix, module = waiting.pop()
        own = saved.get(getattr(module, "qualified_name", ""))
        for name, value in getattr(module, "attributes", {}).items():
            if isinstance(value, _Module):
                waiting.append((f"{prefix}{name}.", value))
            elif isinstance(value, Tensor) and (own is None or name in own):
                weights[f"{prefix}{name}"] = value
    raise CraftZooError(f"it is an archive of more than {_MOST_MODULES:,} modules")
