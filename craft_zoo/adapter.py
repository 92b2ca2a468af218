"""What is deployed: prompt, refiner, anchors, class names and the model they belong to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Prompt
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.weights import ACTIVATIONS, computed_before, with_activation
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.files import replacing
from craft_zoo.refiner import ConvexRefiner, Refiner

_FORMAT = "craft-zoo adapter 4"
_READ = (_FORMAT, "craft-zoo adapter 3")


@dataclass
class Solution:
    """What a method has found.

    Attributes:
        prompt: a context that is put before each class name, (n_ctx, dim) or (C, n_ctx, dim); or a
            template in words, or one for each class.
        refiner: corrects the logits; None where nothing does.
        anchors: texts that the refiner looks at beside the classes; None without.
        deployable: whether an adapter can hold it.
    """

    deployable: ClassVar[bool] = True

    prompt: Prompt
    refiner: Refiner | ConvexRefiner | None = None
    anchors: Anchors | None = None

    @property
    def predictions(self) -> float:
        """Predictions that a deployed image costs: 1, and M / C for M anchor logits."""
        if self.anchors is None or not isinstance(self.refiner, ConvexRefiner):
            return 1.0
        return 1 + len(self.anchors) / self.refiner.n_classes

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits: the black box's under the prompt, refined; N predictions.

        Args:
            box: the model opened on the class names.
            images: N images.
            anchor_logits: (N, M), see :meth:`Anchors.logits`; needed where there are anchors.
        """
        return self.refine(box.score(self.prompt, images), anchor_logits)

    def refine(self, logits: np.ndarray, anchor_logits: np.ndarray | None = None) -> np.ndarray:
        """The black box's logits under the prompt as the refiner, if there is one, leaves them."""
        if self.refiner is None:
            return logits
        if isinstance(self.refiner, ConvexRefiner):
            return self.refiner.refine(logits, anchor_logits)
        return self.refiner.refine(logits)


@dataclass
class Adapter:
    """A solution with all that is needed to use it on another day.

    Attributes:
        solution: prompt and refiner.
        classnames: C class names in words.
        init: the prompt that the model was opened with; a context replaced words of it.
        model: name of the model it belongs to, for :func:`craft_zoo.load_vlm`.
        fingerprint: identifies the model by what a black box shows of itself.
    """

    solution: Solution
    classnames: tuple[str, ...]
    model: str
    fingerprint: tuple[float, ...]
    init: str = DEFAULT_INIT

    @classmethod
    def of(cls, solution: Solution, vlm: VLM, box: BlackBox) -> Adapter:
        """The adapter of a solution that was found with ``box``, a classifier of ``vlm``."""
        return cls(solution, box.classnames, vlm.name, fingerprint(box), box.template)

    def predict(self, vlm: VLM, images: Sequence[ImageSource]) -> np.ndarray:
        """(N, C) class probabilities.

        Raises:
            CraftZooError: the model is not the one the adapter was made for, or an image is bad.
        """
        logits = self.solution.refine(*self.ask(vlm, images))
        return torch.from_numpy(logits).softmax(-1).numpy()

    def ask(
        self, vlm: VLM, images: Sequence[ImageSource], *, keep: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What the model returns for images; the rest of :meth:`predict` is the client's own work.

        Args:
            vlm: the model.
            images: N images.
            keep: see :meth:`VLM.images`.

        Returns:
            (N, C) logits under the prompt and, where there are anchors, (N, M) theirs.

        Raises:
            CraftZooError: see :meth:`predict`.
        """
        box = self.open(vlm)
        handed, anchors = vlm.images(images, keep=keep), self.solution.anchors
        logits = box.score(self.solution.prompt, handed)
        if anchors is None:
            return logits, None
        return logits, anchors.logits(vlm.classifier(anchors.texts, self.init), handed)

    def open(self, vlm: VLM) -> BlackBox:
        """The model opened as it was for the adapter.

        Raises:
            CraftZooError: it is not the one the adapter was made for.
        """
        box = vlm.classifier(self.classnames, self.init)
        if not _close(fingerprint(box), self.fingerprint):
            raise CraftZooError(
                f"the adapter was made for {self.model}, and {vlm.name} is another model or has "
                f"other weights: open the one it was made for"
            )
        _check_computed_alike(self.model, vlm)
        return box

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, in one step: a reader sees the old file or the new one."""
        refiner, anchors = self.solution.refiner, self.solution.anchors
        about: dict[str, Any] = {
            "format": _FORMAT,
            "model": self.model,
            "fingerprint": list(self.fingerprint),
            "init": self.init,
            "classnames": list(self.classnames),
            "template": None,
            "refiner": None,
            "anchors": None if anchors is None else list(anchors.texts),
        }
        tensors: dict[str, torch.Tensor] = {}
        if isinstance(self.solution.prompt, np.ndarray):
            tensors["context"] = _tensor(self.solution.prompt)
        else:  # JSON makes a list of a tuple
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
            tensors |= {f"refiner.{name}": value for name, value in refiner.state_dict().items()}
        try:
            with replacing(Path(path)) as beside:
                save_file(tensors, beside, metadata={"craft_zoo": json.dumps(about)})
        except (OSError, SafetensorError) as error:
            raise CraftZooError(f"adapter {path} cannot be written: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read what :meth:`save` wrote.

        Raises:
            CraftZooError: the file is missing or is no adapter.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(metadata["craft_zoo"])
            if about["format"] not in _READ:
                raise CraftZooError(
                    f"{path} has the format {about['format']!r}, this version reads {_FORMAT!r}: "
                    f"tune again or use the version that wrote it"
                )
            classnames = tuple(about["classnames"])
            anchors = None
            if about["anchors"] is not None:
                prompts = about.get("anchor_templates")
                if prompts is None:
                    prompts = tensors["anchors.contexts"].numpy()
                anchors = Anchors(tuple(about["anchors"]), prompts)
            refiner = _refiner(about["refiner"], len(classnames), tensors)
            prompt = about.get("template")
            if isinstance(prompt, list):
                prompt = tuple(prompt)
            if prompt is None:
                prompt = tensors["context"].numpy()
                if prompt.ndim != 2 and prompt.shape[:-2] != (len(classnames),):
                    raise ValueError(f"contexts {prompt.shape} of {len(classnames)} classes")
            solution = Solution(prompt, refiner, anchors)
            return cls(
                solution,
                classnames,
                about["model"],
                tuple(float(value) for value in about["fingerprint"]),
                about["init"],
            )
        except FileNotFoundError:
            raise CraftZooError(f"adapter {path} does not exist: check the path") from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CraftZooError(
                f"{path} is not an adapter of craft-zoo ({error}): make one with craft-zoo tune"
            ) from None


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))  # a copy: no two tensors may share memory


def _refiner(
    about: str | dict[str, int] | None, n_classes: int, tensors: dict[str, torch.Tensor]
) -> Refiner | ConvexRefiner | None:
    if about is None:
        return None
    mine = {
        name.removeprefix("refiner."): value
        for name, value in tensors.items()
        if name.startswith("refiner.")
    }
    if isinstance(about, str):
        return ConvexRefiner(mine["weight"].numpy(), mine["bias"].numpy())
    refiner = Refiner(n_classes, about["hidden"])
    refiner.load_state_dict(mine)
    return refiner


def fingerprint(box: BlackBox) -> tuple[float, ...]:
    """Some of the initial words' embeddings, which differ from those of any other model."""
    values = box.initial_context.ravel()
    return tuple(float(f"{value:.6g}") for value in values[:: max(1, len(values) // 16)][:16])


def _check_computed_alike(model: str, vlm: VLM) -> None:
    """Complain of an adapter that was made with the same weights, used in another way.

    Token embeddings, of which a fingerprint consists, are the same then.
    """
    before = computed_before(model)
    if before is None:
        return
    architecture, then, now = before
    differing, option = then.differs_in(now), "--quickgelu" if then.quick_gelu else "--no-quickgelu"
    mend = "tune again"
    if differing == ["activation"]:
        if vlm.name.partition("@")[0] == with_activation(architecture, then.quick_gelu):
            return
        mend += f", or compute as then with {option}"
    raise CraftZooError(
        f"the adapter was made for {model} by an earlier version of craft-zoo, which computed with "
        f"{ACTIVATIONS[then.quick_gelu]}, where these weights are now used with "
        f"{ACTIVATIONS[now.quick_gelu]} (what differs: {', '.join(differing)}): {mend}"
    )


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two fingerprints are of one model, in whatever precision."""
    return len(one) == len(other) and bool(
        np.allclose(one, other, rtol=0.004, atol=1e-6)  # bf16 rounds by 0.002
    )
