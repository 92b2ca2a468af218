"""Query meter: counts queries and predictions, and enforces the budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts, checked
from craft_zoo.blackbox.templates import check_template
from craft_zoo.blackbox.wrappers import WrappedBlackBox
from craft_zoo.errors import CraftZooError

Purpose = Literal["search", "refiner", "evaluation"]


class BudgetExceeded(CraftZooError):  # noqa: N818, an expected condition rather than an error
    """A query was not sent because it would have exceeded the budget."""


class Meter:
    """Counts the queries and predictions of a run, and refuses queries beyond the budget.

    A query is one context scored on all training images of a task, or on a batch of them by a
    method whose authors count so (``zip``); only the purpose ``search`` makes queries. A prediction
    is one (context, image) pair and is counted for every purpose. Both refer to the task's C
    classes: a label set of M other texts (anchors) counts as M / C, and totals are rounded up. A
    service bills differently: one prediction for each prompt and image, however many texts the
    prompt is filled with.

    Args:
        budget: maximum number of queries; None: unlimited.
        n_classes: C; None: a context counts as one query, whatever the size of the label set.

    Attributes:
        budget: as given.
        n_classes: as given.
        billed: number of predictions that a service would bill.
    """

    def __init__(self, budget: int | None = None, n_classes: int | None = None) -> None:
        if budget is not None and budget < 0:
            raise CraftZooError(f"the budget must not be negative, it is {budget}")
        if n_classes is not None and n_classes < 1:
            raise CraftZooError(f"a task must have at least 1 class, not {n_classes}")
        self.budget, self.n_classes = budget, n_classes
        self._texts_searched = 0  # texts scored on the training images; C of them are one query
        self._scores: Counter[Purpose] = Counter()  # (text, image) pairs; C texts, one prediction
        self.billed = 0

    @property
    def queries(self) -> int:
        """Number of queries so far."""
        return self._in_classes(self._texts_searched)

    @property
    def predictions(self) -> Counter[Purpose]:
        """Number of predictions so far, by purpose."""
        return Counter({name: self._in_classes(scores) for name, scores in self._scores.items()})

    @property
    def remaining(self) -> int:
        """Number of queries left; without a budget, the largest int64."""
        return np.iinfo(np.int64).max if self.budget is None else self.budget - self.queries

    def affordable_texts(self) -> int:
        """Number of texts that can still be scored on the training images within the budget."""
        if self.budget is None:
            return np.iinfo(np.int64).max
        return self.budget * (self.n_classes or 1) - self._texts_searched

    def charge(
        self, contexts: int, images: int, purpose: Purpose, texts: int | None = None
    ) -> None:
        """Count ``contexts`` x ``images`` predictions.

        Args:
            contexts: number of contexts.
            images: number of images.
            purpose: purpose of the predictions.
            texts: size of the label set; None: the task's C.

        Raises:
            BudgetExceeded: the queries would exceed the budget; nothing is counted.
        """
        width = self.n_classes or 1
        texts = width if texts is None or self.n_classes is None else texts
        if purpose == "search":
            if self.budget is not None and contexts * texts > self.affordable_texts():
                raise BudgetExceeded(
                    f"{self._in_classes(contexts * texts)} more queries would exceed the budget of "
                    f"{self.budget} ({self.queries} made): raise the budget"
                )
            self._texts_searched += contexts * texts
        self._scores[purpose] += contexts * images * texts
        self.billed += contexts * images

    def _in_classes(self, texts: int) -> int:
        return math.ceil(texts / (self.n_classes or 1))

    def wrap(self, box: BlackBox, purpose: Purpose) -> MeteredBlackBox:
        """Wrap a black box so that its predictions are counted under ``purpose``."""
        return MeteredBlackBox(box, self, purpose)


class MeteredBlackBox(WrappedBlackBox):
    """A black box whose queries are validated and charged before they are sent to the model."""

    def __init__(self, box: BlackBox, meter: Meter, purpose: Purpose) -> None:
        super().__init__(box)
        self._meter, self._purpose = meter, purpose

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """As :meth:`BlackBox.logits`. All prompts are charged at the call, not while iterating.

        Raises:
            BudgetExceeded: see :meth:`Meter.charge`.
            CraftZooError: the model does not accept such prompts, contexts have a wrong shape or
                are not finite, or a template does not have exactly one ``{}``; or, while iterating,
                the model's answer has a wrong shape or holds NaN or infinity.
        """
        if isinstance(prompts, np.ndarray):
            self._check_contexts(prompts)
        else:
            self._check_templates(prompts)
        self._meter.charge(len(prompts), len(images), self._purpose, len(self.classnames))
        answers = self._box.logits(prompts, images)
        return checked(answers, (len(prompts), len(images), len(self.classnames)))

    def _check_templates(self, templates: Sequence[str | tuple[str, ...]]) -> None:
        if "texts" not in self.accepts:
            raise CraftZooError("the model takes contexts only, no words: use another method")
        for each in templates:
            if isinstance(each, tuple) and len(each) != len(self.classnames):
                raise CraftZooError(
                    f"{len(each)} templates came for {len(self.classnames)} classes: give one each"
                )
            for template in (each,) if isinstance(each, str) else each:
                check_template(template)

    def _check_contexts(self, contexts: np.ndarray) -> None:
        if "contexts" not in self.accepts:
            raise CraftZooError(
                "the model takes words only, no contexts: use a method that asks in words, as "
                "hard, craft-hard, refine or anchors"
            )
        expected = self.initial_context.shape
        own = len(self.classnames), *expected
        if contexts.shape[1:] not in (expected, own):
            raise CraftZooError(
                f"contexts of shape {contexts.shape} do not fit the model: "
                f"give (P, {expected[0]}, {expected[1]}) or, for a context for each class, "
                f"(P, {own[0]}, {own[1]}, {own[2]})"
            )
        if not np.isfinite(contexts).all():
            raise CraftZooError("a context holds NaN or infinity: check the optimizer's candidates")
