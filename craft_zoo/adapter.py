"""Adapter files: prompt, refiner, anchors, class names and identification of the model."""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.special import softmax

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Prompt, other_model
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.canaries import Canaries
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError, CraftZooWarning, needs_extra
from craft_zoo.files import write_atomically
from craft_zoo.hub import local_file
from craft_zoo.local_features import LocalClassifier
from craft_zoo.openclip.weights import ACTIVATIONS, former_settings, with_activation
from craft_zoo.predictor import Predictor
from craft_zoo.records import CHECKSUM, check, checksum, parse, seal_holds, short
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.tuning_record import TuningRecord

if TYPE_CHECKING:
    from craft_zoo.refiner.network import Refiner

_FORMAT = "craft-zoo adapter 4"
_LOCAL_FORMAT = "craft-zoo adapter 5"  # with local features, which earlier versions do not know
_CALIBRATED_FORMAT = "craft-zoo adapter 6"  # with a temperature
_TUNED_FORMAT = "craft-zoo adapter 7"  # with a record of its tuning, or canaries
_CURVE_FORMAT = "craft-zoo adapter 8"  # with a curve of the search, or canaries asked twice
_OPTIONS_FORMAT = "craft-zoo adapter 9"  # with options of the model that change its answers
_SERVED_FORMAT = (
    "craft-zoo adapter 10"  # with what the served model said of itself, or a hash of its files
)
_READ = (
    _SERVED_FORMAT,
    _OPTIONS_FORMAT,
    _CURVE_FORMAT,
    _TUNED_FORMAT,
    _CALIBRATED_FORMAT,
    _LOCAL_FORMAT,
    _FORMAT,
    "craft-zoo adapter 3",
)
_CANARY_ANSWERS = ("logits", "anchors", "logits_again", "anchors_again")
_HEADER_BYTES = 2**24  # generous: the class names of ImageNet-21k take half a megabyte
_MOST_TEXTS = 100_000
_LARGEST = 1e18  # of all numbers; the products of larger ones overflow
_TEXT_CHARACTERS = 2000  # longer than the context of any model


class OtherModelError(CraftZooError):
    """A model is not the one for which an adapter was made."""


@dataclass(repr=False)
class Solution:
    """Result of a method.

    Attributes:
        prompt: a context before each class name, (n_ctx, dim) or (C, n_ctx, dim); or a template in
            words, or one for each class.
        refiner: corrects the logits; None: the logits are used as they are.
        anchors: additional texts whose logits are inputs of the refiner; None: there are none.
        local: classifier on features that this machine computes, whose logits are added; or None.
        deployable: whether it can be saved as an adapter.
    """

    deployable: ClassVar[bool] = True

    prompt: Prompt
    refiner: Refiner | ConvexRefiner | None = None
    anchors: Anchors | None = None
    local: LocalClassifier | None = None

    def __repr__(self) -> str:
        found = self.prompt
        prompt = f"contexts {found.shape}" if isinstance(found, np.ndarray) else "words"
        parts = [prompt, *([type(self.refiner).__name__] if self.refiner is not None else [])]
        if self.anchors is not None:
            parts.append(f"{len(self.anchors)} anchors")
        if self.local is not None:
            parts.append(f"local features {self.local.features}")
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    @property
    def predictions(self) -> float:
        """Predictions per deployed image: 1, plus M / C for M anchor logits."""
        if self.anchors is None or not isinstance(self.refiner, ConvexRefiner):
            return 1.0
        return 1 + len(self.anchors) / self.refiner.n_classes

    @property
    def billed_predictions(self) -> int:
        """Predictions that a service bills per deployed image: one for each prompt.

        A prompt is billed once, whatever the number of texts that it is asked with.
        """
        return 1 if self.anchors is None else 1 + len(self.anchors.prompts)

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) deployed logits under the prompt; costs N predictions.

        Args:
            box: the model's classifier of the class names.
            images: N images.
            anchor_logits: (N, M), see :meth:`Anchors.logits`; required with anchors.
        """
        logits = box.score(self.prompt, images)
        return self.refine(logits, anchor_logits, self.local_logits(images))

    def local_logits(self, images: ImageSet) -> np.ndarray | None:
        """(N, C) logits of :attr:`local` for N images; None without it."""
        return None if self.local is None else self.local.logits(images)

    def refine(
        self,
        logits: np.ndarray,
        anchor_logits: np.ndarray | None = None,
        local: np.ndarray | None = None,
    ) -> np.ndarray:
        """Deployed logits from the black box's: refined, if there is a refiner, plus local ones.

        Args:
            logits: (N, C) under the prompt.
            anchor_logits: (N, M) of the anchors.
            local: (N, C) of :attr:`local`.
        """
        if isinstance(self.refiner, ConvexRefiner):
            logits = self.refiner.refine(logits, anchor_logits)
        elif self.refiner is not None:
            logits = self.refiner.refine(logits)
        return logits if local is None else logits + local


@dataclass(repr=False)
class Adapter:
    """A solution with the class names and the identification of its model, saved as one file.

    Attributes:
        solution: prompt and refiner.
        classnames: C class names in words.
        init: the initial prompt; a context replaced its words.
        model: name of the model, for :func:`craft_zoo.load_vlm`.
        fingerprint: identifies the model by values of its initial context, see :func:`fingerprint`.
        temperature: number by which the deployed logits are divided before the softmax.
        tuned: how it was tuned; None: unknown.
        canaries: images, and the model's answers about them when it was tuned; None: not kept.
        answer_options: the model's :attr:`VLM.answer_options` when it was tuned.
        served: the :meth:`VLM.identity` of the model when it was tuned; {}: unknown.
    """

    solution: Solution
    classnames: tuple[str, ...]
    model: str
    fingerprint: tuple[float, ...]
    init: str = DEFAULT_INIT
    temperature: float = 1.0
    tuned: TuningRecord | None = None
    canaries: Canaries | None = None
    answer_options: str = ""
    served: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Adapter of {self.model} for {len(self.classnames):,} classes: {self.solution!r}>"

    @classmethod
    def of(cls, solution: Solution, vlm: VLM, box: BlackBox) -> Adapter:
        """The adapter for a solution that was found with ``box``, a classifier of ``vlm``."""
        return cls(
            solution,
            box.classnames,
            vlm.name,
            fingerprint(box),
            box.template,
            answer_options=vlm.answer_options,
            served=vlm.identity(),
        )

    def predict(self, vlm: VLM, images: Sequence[ImageSource]) -> np.ndarray:
        """(N, C) class probabilities.

        Raises:
            CraftZooError: the adapter was made for another model, or an image cannot be read.
        """
        return self.probabilities(self.solution.refine(*self.ask(vlm, images)))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) class probabilities from the deployed logits, (N, C)."""
        return softmax(logits / np.float32(self.temperature), axis=-1)

    def ask(
        self, vlm: VLM, images: Sequence[ImageSource], *, keep: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Query the model's logits of images, which :meth:`predict` refines locally.

        Args:
            vlm: the model.
            images: N images.
            keep: see :meth:`VLM.images`.

        Returns:
            The arguments of :meth:`Solution.refine`: (N, C) logits under the prompt, (N, M) logits
            of the anchors or None, and (N, C) logits of the local classifier or None.

        Raises:
            CraftZooError: see :meth:`predict`.
        """
        handed = vlm.images(images, keep=keep)
        return Predictor(vlm, self.open(vlm), handed).ask(self.solution)

    def open(self, vlm: VLM) -> BlackBox:
        """The classifier of the adapter's class names and initial prompt.

        Warns if the model's options change its answers to others than those of the tuning, or if a
        service says that it serves another model or answers in another form, or the model's files
        are others.

        Raises:
            OtherModelError: the adapter was made for another model.
        """
        box = vlm.classifier(self.classnames, self.init)
        if not _close(fingerprint(box), self.fingerprint):
            raise OtherModelError(
                f"the adapter was made for {self.model}, and {vlm.name} is another model or has "
                f"other weights: open the one it was made for"
            )
        _check_computed_alike(self.model, vlm)
        if vlm.answer_options != self.answer_options:
            warnings.warn(
                f"{self.model} is asked with {_options(vlm.answer_options)}, and the adapter was "
                f"tuned with {_options(self.answer_options)}: its answers are other ones now, give "
                f"the options of the tuning (--model-option)",
                CraftZooWarning,
                stacklevel=2,
            )
        if self.served:
            mend = "see whether its answers changed (craft-zoo check), or tune again"
            when = "the adapter was tuned"
            # No error: in half precision, its answers are nearly the same.
            if said := other_model(vlm.name, self.served, vlm.identity(), when, mend):
                warnings.warn(said, CraftZooWarning, stacklevel=2)
        return box

    def save(self, path: str | Path) -> None:
        """Write one safetensors file atomically: a reader sees the old file or the new one.

        Raises:
            CraftZooError: the file cannot be written, or class names, temperature or another value
                are such that :meth:`load` would refuse it.
        """
        # safetensors' save_file would create files that only their owner may read.
        about, tensors = self._parts()
        try:
            check(_About, about)
        except ValueError as error:
            raise CraftZooError(
                f"the adapter cannot be saved, as it could not be read again: {error}"
            ) from None
        self._write(path, _file(about, tensors))

    def _write(self, path: str | Path, content: bytes) -> None:
        try:
            write_atomically(Path(path), content)
        except OSError as error:
            raise CraftZooError(f"{path} cannot be written: {error}") from None

    def to_onnx(self, path: str | Path) -> None:
        """Write the refiner and the temperature as an ONNX model, see :mod:`craft_zoo.onnx_model`.

        Raises:
            CraftZooError: the extra ``onnx`` is missing, or the file cannot be written.
        """
        from craft_zoo.onnx_model import onnx_bytes

        self._write(path, onnx_bytes(self))

    def to_bytes(self) -> bytes:
        """The content of the file that :meth:`save` writes; equal for equal adapters."""
        return _file(*self._parts())

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and tensors of the file."""
        refiner, anchors = self.solution.refiner, self.solution.anchors
        local = self.solution.local
        about: dict[str, Any] = {
            "format": self._format,
            "model": self.model,
            "fingerprint": list(self.fingerprint),
            "init": self.init,
            "classnames": list(self.classnames),
            "template": None,
            "refiner": None,
            "anchors": None if anchors is None else list(anchors.texts),
        }
        if self.temperature != 1:
            about["temperature"] = float(self.temperature)
        if self.answer_options:
            about["answer_options"] = self.answer_options
        if self.served:
            about["served"] = self.served
        if self.tuned is not None:
            about["tuned"] = asdict(self.tuned)
            if self.tuned.curve is None:  # not in format 7
                del about["tuned"]["curve"]
        tensors: dict[str, np.ndarray] = {}
        if isinstance(self.solution.prompt, np.ndarray):
            tensors["context"] = _tensor(self.solution.prompt)
        else:  # JSON writes a tuple as a list
            about["template"] = self.solution.prompt
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
        if (canaries := self.canaries) is not None:
            tensors["canaries.images"] = np.ascontiguousarray(canaries.images)
            for name in _CANARY_ANSWERS:
                if (answers := getattr(canaries, name)) is not None:
                    tensors[f"canaries.{name}"] = _tensor(answers)
        about = json.loads(json.dumps(about))  # as after loading: tuples become lists
        about[CHECKSUM] = checksum(about, _content(tensors))
        return about, tensors

    @property
    def _format(self) -> str:
        """The earliest version of the format that can hold this adapter."""
        if self.served:
            return _SERVED_FORMAT
        if self.answer_options:
            return _OPTIONS_FORMAT
        again = None if self.canaries is None else self.canaries.logits_again
        if again is not None or (self.tuned is not None and self.tuned.curve is not None):
            return _CURVE_FORMAT
        if self.tuned is not None or self.canaries is not None:
            return _TUNED_FORMAT
        if self.temperature != 1:
            return _CALIBRATED_FORMAT
        return _FORMAT if self.solution.local is None else _LOCAL_FORMAT

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read what :meth:`save` wrote; ``hf://user/name[@revision]`` is read from the hub.

        The header is checked completely before any tensor is read.

        Raises:
            CraftZooError: the file is missing, is no adapter, or was changed since it was written.
        """
        path = local_file(path)
        try:
            _check_header(path)
            with safe_open(path, framework="np") as file:
                about = parse((file.metadata() or {})["craft_zoo"])
                if about.get("format") not in _READ:
                    raise CraftZooError(
                        f"{path} has the format {short(about.get('format'))}, this version reads "
                        f"{_READ[0]!r} and older: tune again or use the version that wrote it"
                    )
                check(_About, about)
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
            return cls(
                _solution(about, tensors),
                tuple(about["classnames"]),
                about["model"],
                tuple(float(value) for value in about["fingerprint"]),
                about["init"],
                about.get("temperature", 1.0),
                _record(about),
                _canaries(tensors),
                about.get("answer_options") or "",
                about.get("served") or {},
            )
        except CraftZooError:
            raise
        except FileNotFoundError:
            raise CraftZooError(f"adapter {path} does not exist: check the path") from None
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise CraftZooError(
                f"{path} is not an adapter of craft-zoo ({error}): make one with craft-zoo tune"
            ) from None


def _options(answer_options: str) -> str:
    return f"the options {answer_options}" if answer_options else "the default options"


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


class _About(BaseModel):
    """Metadata in an adapter's header."""

    model_config = ConfigDict(extra="forbid")

    format: str
    model: _Text
    # Empty for models that accept only words.
    fingerprint: Annotated[list[_Number], Field(max_length=16)]
    init: _Template
    classnames: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TEXTS)]
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
    checksum: str | None = None


def header_schema() -> dict[str, Any]:
    """JSON schema of the header of adapter files."""
    return _About.model_json_schema()


def _check_header(path: str | Path) -> None:
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


def _solution(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Solution:
    """The solution from a header and tensors that :func:`_check_tensors` has checked."""
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
    return Solution(prompt, refiner, anchors, local)


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


def _content(tensors: dict[str, np.ndarray]) -> Iterator[bytes]:
    """Bytes of the names, shapes and values of tensors, for the checksum."""
    for name, tensor in sorted(tensors.items()):
        yield f"{name} {tuple(tensor.shape)} ".encode()
        yield tensor.tobytes()


def _file(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    return save(tensors, metadata={"craft_zoo": json.dumps(about)})


def _tensor(array: np.ndarray) -> np.ndarray:
    # Of safetensors' arrays, only contiguous ones are written in the right order.
    return np.ascontiguousarray(array, dtype=np.float32)


def fingerprint(box: BlackBox) -> tuple[float, ...]:
    """Up to 16 values of the initial context's token embeddings, which identify the weights."""
    values = box.initial_context.ravel()
    return tuple(float(f"{value:.6g}") for value in values[:: max(1, len(values) // 16)][:16])


def _check_computed_alike(model: str, vlm: VLM) -> None:
    """Check that the model's weights are used with the activation the adapter was tuned with.

    Fingerprints consist of token embeddings, which do not depend on the activation.
    """
    before = former_settings(model)
    if before is None:
        return
    architecture, then, now = before
    differing = then.differs_in(now)
    mend = "tune again"
    if differing == ["activation"]:
        if vlm.name.partition("@")[0] == with_activation(architecture, then.quick_gelu):
            return
        flag = "--quickgelu" if then.quick_gelu else "--no-quickgelu"
        mend += f", or compute as then with quickgelu={then.quick_gelu} ({flag})"
    raise OtherModelError(
        f"the adapter was made for {model} by an earlier version of craft-zoo, which computed with "
        f"{ACTIVATIONS[then.quick_gelu]}, where these weights are now used with "
        f"{ACTIVATIONS[now.quick_gelu]} (what differs: {', '.join(differing)}): {mend}"
    )


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two fingerprints are equal up to the rounding of half precision."""
    return len(one) == len(other) and bool(
        np.allclose(one, other, rtol=0.004, atol=1e-6)  # bf16 rounds by 0.002
    )
