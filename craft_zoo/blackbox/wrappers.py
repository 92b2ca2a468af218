"""Base classes of models that wrap another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from craft_zoo.blackbox.base import VLM, Asked, BlackBox, ImageSet, Progress
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.image_tokens import Embeddings
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.usage import Usage
from craft_zoo.data.images import ImageSource


class WrappedBlackBox(BlackBox):
    """Base class of wrappers, with the attributes of the wrapped black box.

    Args:
        box: the black box to wrap.
    """

    def __init__(self, box: BlackBox) -> None:
        self._box = box
        self.accepts, self.classnames = box.accepts, box.classnames
        self.template, self.initial_context = box.template, box.initial_context
        self.questions = box.questions

    def fits(self, prompt: str) -> bool:
        """See :meth:`BlackBox.fits`."""
        return self._box.fits(prompt)


class WrappedVLM(VLM):
    """Base class of wrappers: delegates to another model and copies its attributes.

    Args:
        vlm: the model to wrap.
    """

    def __init__(self, vlm: VLM) -> None:
        self._vlm = vlm
        self.name, self.image_size, self.bills = vlm.name, vlm.image_size, vlm.bills
        self.counts_usage, self.sells_vectors = vlm.counts_usage, vlm.sells_vectors
        self.asks_texts_apart, self.answer_options = vlm.asks_texts_apart, vlm.answer_options
        self.in_flight, self.images_in_flight = vlm.in_flight, vlm.images_in_flight
        self.precision = vlm.precision

    @property
    def refused(self) -> int:
        """See :attr:`VLM.refused`, which grows as answers come."""
        return self._vlm.refused

    @refused.setter
    def refused(self, count: int) -> None:
        self._vlm.refused = count

    @property
    def decimals(self) -> int | None:  # type: ignore[override]
        """See :attr:`VLM.decimals`, which grows as answers come."""
        return self._vlm.decimals

    def note_decimals(self, decimals: int | None) -> None:
        """See :meth:`VLM.note_decimals`."""
        self._vlm.note_decimals(decimals)

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        """See :meth:`VLM.images`."""
        return self._vlm.images(images, progress, keep=keep)

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.classifier`."""
        return self._vlm.classifier(classnames, init)

    def independent(self, texts: Sequence[str], init: str = DEFAULT_INIT) -> BlackBox:
        """See :meth:`VLM.independent`."""
        return self._vlm.independent(texts, init)

    def expected_usage(
        self,
        asked: Sequence[Asked],
        images: Sequence[ImageSource],
        classnames: Sequence[str],
        init: str = DEFAULT_INIT,
    ) -> Usage:
        """See :meth:`VLM.expected_usage`."""
        return self._vlm.expected_usage(asked, images, classnames, init)

    def description(self) -> dict[str, str]:
        """See :meth:`VLM.description`."""
        return self._vlm.description()

    def identity(self) -> dict[str, str]:
        """See :meth:`VLM.identity`."""
        return self._vlm.identity()

    def embeddings(self) -> Embeddings | None:
        """See :meth:`VLM.embeddings`."""
        return self._vlm.embeddings()

    def nearest_words(self, vectors: np.ndarray) -> list[tuple[str, float]] | None:
        """See :meth:`VLM.nearest_words`."""
        return self._vlm.nearest_words(vectors)

    @property
    def cost_limit(self) -> CostLimit:
        """See :attr:`VLM.cost_limit`."""
        return self._vlm.cost_limit

    @property
    def billed(self) -> Usage:
        """See :attr:`VLM.billed`."""
        return self._vlm.billed

    def remembered(self, make: Callable[[], str], example: str) -> str:
        """See :meth:`VLM.remembered`."""
        return self._vlm.remembered(make, example)

    def keep_responses(self, path: Path) -> None:
        """See :meth:`VLM.keep_responses`."""
        self._vlm.keep_responses(path)

    def retry_for(self, seconds: float) -> None:
        """See :meth:`VLM.retry_for`."""
        self._vlm.retry_for(seconds)

    def next_question(self, name: str) -> None:
        """See :meth:`VLM.next_question`."""
        self._vlm.next_question(name)
