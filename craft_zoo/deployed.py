"""Adapters opened on their models, to classify one set of images after another."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox.base import VLM, ImageSet, several
from craft_zoo.blackbox.serving import serving
from craft_zoo.errors import CraftZooError, RefusedError
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.solution import Solution


@dataclass(frozen=True)
class AdapterParts:
    """The parts of an adapter.

    A context is embeddings before the class name, a template is words around it; in the plural,
    each class has its own. ``anchors`` is the number of anchor logits of an image.
    """

    prompt: Literal["context", "contexts", "template", "templates"]
    refiner: Literal["convex", "network"] | None
    anchors: int


class DeployedAdapter:
    """An adapter opened on its model.

    The constructor opens the model on the class names and the anchors, which a local model encodes
    then. A prediction only encodes the images.

    Args:
        adapter: the adapter.
        vlm: the model that it was made for.
        created: when its file was written; None: unknown.

    Attributes:
        classnames: the C class names.
        created: as given.
        parts: what the adapter consists of.
        digest: SHA-256 of the adapter, hexadecimal.

    Raises:
        CraftZooError: the adapter was made for another model, or two of its classes have one name.
    """

    def __init__(self, adapter: Adapter, vlm: VLM, created: datetime | None = None) -> None:
        self.classnames, self.created = adapter.classnames, created
        self.digest = hashlib.sha256(adapter.to_bytes()).hexdigest()
        name, count = Counter(adapter.classnames).most_common(1)[0]
        if count > 1:
            raise CraftZooError(
                f"{count} classes of the adapter are called {name!r}, and answers name the class: "
                f"tune again with different names"
            )
        self._adapter, self._solution, model = adapter, adapter.solution, serving(vlm)
        self.parts = _parts(self._solution)
        self._score = model.scorer(adapter.open(vlm), several(self._solution.prompt))
        self._score_anchors = None
        if (anchors := self._solution.anchors) is not None:
            box = vlm.independent(anchors.texts, adapter.init)
            self._score_anchors = model.scorer(box, anchors.prompts)

    def predict(self, images: ImageSet) -> np.ndarray:
        """(N, C) class probabilities of N images of the model, as :meth:`Adapter.predict`.

        If a service refuses to answer about all of them, they are undecided: to a server, one image
        of a client may be all that is asked about.
        """
        anchors = None
        try:
            logits = self._score(images)[0]
            if self._score_anchors is not None:
                anchors = np.concatenate(list(self._score_anchors(images)), axis=1)
        except RefusedError:
            logits = np.zeros((len(images), len(self.classnames)), np.float32)
            if self._score_anchors is not None:
                anchors = np.zeros((len(images), self.parts.anchors), np.float32)
        refined = self._solution.refine(logits, anchors, self._solution.local_logits(images))
        return self._adapter.probabilities(refined)


def _parts(solution: Solution) -> AdapterParts:
    prompt, refiner = solution.prompt, solution.refiner
    anchors = 0 if solution.anchors is None else len(solution.anchors)
    kind: Literal["convex", "network"] | None = None
    if refiner is not None:
        kind = "convex" if isinstance(refiner, ConvexRefiner) else "network"
    if isinstance(prompt, np.ndarray):
        return AdapterParts("context" if prompt.ndim == 2 else "contexts", kind, anchors)
    return AdapterParts("template" if isinstance(prompt, str) else "templates", kind, anchors)
