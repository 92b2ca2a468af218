"""What is deployed: the context, the refiner, the class names and the model they belong to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from craft_zoo.blackbox.base import DEFAULT_INIT, VLM, BlackBox, ImageSet
from craft_zoo.data.images import ImageSource
from craft_zoo.errors import CraftZooError
from craft_zoo.files import replacing
from craft_zoo.refiner import Refiner

_FORMAT = "craft-zoo adapter 2"


@dataclass
class Solution:
    """What a method has found: a context, and a refiner where it trains one."""

    context: np.ndarray
    refiner: Refiner | None = None

    def logits(self, box: BlackBox, images: ImageSet) -> np.ndarray:
        """(N, C) logits: the black box's under the context, refined; N predictions."""
        return self.refine(next(iter(box.logits(self.context[None], images))))

    def refine(self, logits: np.ndarray) -> np.ndarray:
        """The black box's logits under the context as the refiner, if there is one, leaves them."""
        return logits if self.refiner is None else self.refiner.refine(logits)


@dataclass
class Adapter:
    """A solution with all that is needed to use it on another day.

    Attributes:
        solution: context and refiner.
        classnames: C class names in words.
        init: the initial words that the context replaced.
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
        return cls(solution, box.classnames, vlm.name, fingerprint(box))

    def predict(self, vlm: VLM, images: Sequence[ImageSource]) -> np.ndarray:
        """(N, C) class probabilities.

        Raises:
            CraftZooError: the model is not the one the adapter was made for, or an image is bad.
        """
        box = vlm.classifier(self.classnames, self.init)
        if not _close(fingerprint(box), self.fingerprint):
            raise CraftZooError(
                f"the adapter was made for {self.model}, and {vlm.name} is another model or has "
                f"other weights: open the one it was made for"
            )
        logits = self.solution.logits(box, vlm.images(images))
        return torch.from_numpy(logits).softmax(-1).numpy()

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, in one step: a reader sees the old file or the new one."""
        refiner = self.solution.refiner
        about = {
            "format": _FORMAT,
            "model": self.model,
            "fingerprint": list(self.fingerprint),
            "init": self.init,
            "classnames": list(self.classnames),
            "refiner": None if refiner is None else {"hidden": refiner.hidden},
        }
        tensors = {"context": torch.from_numpy(np.ascontiguousarray(self.solution.context))}
        if refiner is not None:
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
            if about["format"] != _FORMAT:
                raise CraftZooError(
                    f"{path} has the format {about['format']!r}, this version reads {_FORMAT!r}: "
                    f"tune again or use the version that wrote it"
                )
            classnames = tuple(about["classnames"])
            refiner = None
            if about["refiner"] is not None:
                refiner = Refiner(len(classnames), about["refiner"]["hidden"])
                refiner.load_state_dict(
                    {
                        name.removeprefix("refiner."): value
                        for name, value in tensors.items()
                        if name.startswith("refiner.")
                    }
                )
            solution = Solution(tensors["context"].numpy(), refiner)
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


def fingerprint(box: BlackBox) -> tuple[float, ...]:
    """Some of the initial words' embeddings, which differ from those of any other model."""
    values = box.initial_context.ravel()
    return tuple(float(f"{value:.6g}") for value in values[:: max(1, len(values) // 16)][:16])


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two fingerprints are of one model, in whatever precision."""
    return len(one) == len(other) and bool(
        np.allclose(one, other, rtol=0.004, atol=1e-6)  # bf16 rounds by 0.002
    )
