"""Adapter, a solution with its class names and the identification of its model, in one file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import softmax

from craft_zoo import adapter_file
from craft_zoo.blackbox.base import VLM, BlackBox
from craft_zoo.blackbox.identity import other_model
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.canaries import Canaries
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError, CraftZooWarning, check_kind
from craft_zoo.files import write_atomically, writing
from craft_zoo.hub import local_file
from craft_zoo.openclip.weights import ACTIVATIONS, former_settings, with_activation
from craft_zoo.predictor import Answers, Predictor
from craft_zoo.refiner.transductive import TransductiveClassifier
from craft_zoo.solution import Solution, are_refused
from craft_zoo.tuning_record import TuningRecord


class OtherModelError(CraftZooError):
    """A model is not the one for which an adapter was made."""


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
        decimals: the model's :attr:`VLM.decimals` when it was tuned, by which it reads zeros alike.
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
    decimals: int | None = None

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
            decimals=vlm.decimals,
        )

    def predict(
        self, vlm: VLM, images: Sequence[ImageSource], *, transductive: bool = False
    ) -> np.ndarray:
        """(N, C) class probabilities.

        Args:
            vlm: the model.
            images: N images.
            transductive: classify the images together, see :meth:`refine`.

        Raises:
            CraftZooError: the adapter was made for another model, an image cannot be read, or the
                adapter cannot classify images together.
        """
        if transductive:
            self.check_transductive()
        return self.probabilities(self.refine(*self.ask(vlm, images), transductive=transductive))

    def refine(
        self,
        logits: np.ndarray,
        anchors: np.ndarray | None = None,
        local: np.ndarray | None = None,
        *,
        transductive: bool = False,
    ) -> np.ndarray:
        """(N, C) deployed logits from a model's answers, see :meth:`ask`.

        Args:
            logits: (N, C) under the prompt.
            anchors: (N, M) of the anchors, if the adapter has any.
            local: (N, C) of the local classifier, if the adapter has one.
            transductive: classify the images together, so that the answer about an image depends on
                the others: of many images, and few training images, more are right.

        Raises:
            CraftZooError: the adapter cannot classify images together.
        """
        refined = self.solution.refine(logits, anchors, local)
        if not transductive:
            return refined
        together, temperature = self.check_transductive(), np.float32(self.temperature)
        assert anchors is not None, "the refiner has asked for them"
        asked = ~are_refused(logits, anchors)
        if asked.any():
            alone = refined[asked] / temperature
            refined[asked] = temperature * together.logits(alone, anchors[asked])
        return refined

    def check_transductive(self) -> TransductiveClassifier:
        """The classifier of images together.

        Raises:
            CraftZooError: the adapter has none.
        """
        together = self.solution.transductive
        if together is None:
            raise CraftZooError(
                "the adapter cannot classify images together (--transductive), as it has no "
                "anchors, or was made by an older version: tune with a method that has anchors "
                "(--method anchors)"
            )
        return together

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) class probabilities from the deployed logits, (N, C)."""
        return softmax(logits / np.float32(self.temperature), axis=-1)

    def ask(self, vlm: VLM, images: Sequence[ImageSource], *, keep: bool = True) -> Answers:
        """Query the model's logits of images, which :meth:`predict` refines locally.

        Args:
            vlm: the model.
            images: N images.
            keep: see :meth:`VLM.images`.

        Returns:
            (N, C) logits under the prompt, (N, M) logits of the anchors or None, and (N, C) logits
            of the local classifier or None, which :meth:`Solution.refine` takes.

        Raises:
            CraftZooError: see :meth:`predict`.
        """
        check_kind("vlm", vlm, VLM, 'load_vlm("craft-mini")')
        handed = vlm.images(images, keep=keep)
        return Predictor(vlm, self.open(vlm), handed).ask(self.solution)

    def open(self, vlm: VLM) -> BlackBox:
        """The classifier of the adapter's class names and initial prompt.

        Warns if the model's options change its answers to others than those of the tuning, if a
        service says that it serves another model or answers in another form, if the model's files
        are others, or if a service that takes words only has another name.

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
        mend = "see whether its answers changed (craft-zoo check), or tune again"
        said = None
        if self.served:
            when = "the adapter was tuned"
            said = other_model(vlm.name, self.served, vlm.identity(), when, mend)
        elif not self.fingerprint and _without_address(vlm.name) != _without_address(self.model):
            said = f"the adapter was tuned on {self.model}, and {vlm.name} is asked now: {mend}"
        if said:  # no error: in half precision, or at another address, answers are nearly the same
            warnings.warn(said, CraftZooWarning, stacklevel=2)
        vlm.note_decimals(self.decimals)
        return box

    def save(self, path: str | Path) -> None:
        """Write one safetensors file atomically: a reader sees the old file or the new one.

        Raises:
            CraftZooError: the file cannot be written, or class names, temperature or another value
                are such that :meth:`load` would refuse it.
        """
        about, tensors = adapter_file.parts_of(self)
        adapter_file.check_header(about)
        # safetensors' save_file would create files that only their owner may read.
        self._write(path, adapter_file.to_bytes(about, tensors))

    def _write(self, path: str | Path, content: bytes) -> None:
        with writing(path):
            write_atomically(Path(path), content)

    def to_onnx(self, path: str | Path) -> None:
        """Write the refiner and the temperature as an ONNX model, see :mod:`craft_zoo.onnx_model`.

        Raises:
            CraftZooError: the extra ``onnx`` is missing, or the file cannot be written.
        """
        from craft_zoo.onnx_model import onnx_bytes

        self._write(path, onnx_bytes(self))

    def to_bytes(self) -> bytes:
        """The content of the file that :meth:`save` writes; equal for equal adapters."""
        return adapter_file.to_bytes(*adapter_file.parts_of(self))

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read what :meth:`save` wrote; ``hf://user/name[@revision]`` is read from the hub.

        The header is checked completely before any tensor is read.

        Raises:
            CraftZooError: the file is missing, is no adapter, or was changed since it was written.
        """
        return cls(**adapter_file.read(local_file(path)))


def _without_address(model: str) -> str:
    """A model's name without the address of its server, where the name has both."""
    return model.partition("@http")[0]


def _options(answer_options: str) -> str:
    return f"the options {answer_options}" if answer_options else "the default options"


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
