"""The query meter: the only source of the numbers on a plot's x axis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts, WrappedBlackBox
from craft_zoo.blackbox.checked import checked
from craft_zoo.errors import CraftZooError

Purpose = Literal["search", "refiner", "evaluation"]


class BudgetExceeded(CraftZooError):  # noqa: N818, an event rather than a mistake
    """A query was refused because it would have exceeded the budget; the model was not asked."""


class Meter:
    """Counts what a run asks of its model, and refuses queries beyond the budget.

    A query is one context scored on a task's training images; only the purpose ``search`` makes
    queries. A prediction is one (context, image) pair and is counted under every purpose. Both are
    of the task's C classes: other texts (anchors) are charged pro rata, M of them at M / C, and
    totals are rounded up. A service bills otherwise: a prediction for each prompt and image,
    however many texts the prompt is filled with.

    Args:
        budget: the most queries that may be made, or None for no limit.
        n_classes: C; None: whatever label set is asked for is charged in full.

    Attributes:
        budget: as given.
        n_classes: as given.
        billed: predictions that a service would bill for all that was asked.
    """

    def __init__(self, budget: int | None = None, n_classes: int | None = None) -> None:
        if budget is not None and budget < 0:
            raise CraftZooError(f"the budget must not be negative, it is {budget}")
        if n_classes is not None and n_classes < 1:
            raise CraftZooError(f"a task must have at least 1 class, not {n_classes}")
        self.budget, self.n_classes = budget, n_classes
        self._texts_searched = 0  # texts scored on the training images, C of which are a query
        self._scores: Counter[Purpose] = Counter()  # (text, image) pairs, likewise
        self.billed = 0

    def __repr__(self) -> str:
        return f"<Meter: {self.queries:,} queries, {sum(self.predictions.values()):,} predictions>"

    @property
    def queries(self) -> int:
        """Contexts asked for under the purpose ``search`` so far."""
        return self._in_classes(self._texts_searched)

    @property
    def predictions(self) -> Counter[Purpose]:
        """Predictions asked for so far, by purpose."""
        return Counter({name: self._in_classes(scores) for name, scores in self._scores.items()})

    @property
    def remaining(self) -> int:
        """Queries left; without a budget, more than any run can make."""
        return np.iinfo(np.int64).max if self.budget is None else self.budget - self.queries

    def affordable_texts(self) -> int:
        """Texts that the rest of the budget pays for, each scored once on the training images."""
        if self.budget is None:
            return np.iinfo(np.int64).max
        return self.budget * (self.n_classes or 1) - self._texts_searched

    def charge(
        self, contexts: int, images: int, purpose: Purpose, texts: int | None = None
    ) -> None:
        """Count ``contexts`` x ``images`` predictions.

        Args:
            contexts: how many.
            images: how many.
            purpose: what for.
            texts: size of the label set; None: the task's classes.

        Raises:
            BudgetExceeded: they are queries and would exceed the budget; nothing is counted.
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
        """The same black box with everything asked of it counted under ``purpose``."""
        return MeteredBlackBox(box, self, purpose)


class MeteredBlackBox(WrappedBlackBox):
    """A black box behind a meter. Questions are charged before they are asked, answers checked."""

    def __init__(self, box: BlackBox, meter: Meter, purpose: Purpose) -> None:
        super().__init__(box)
        self._meter, self._purpose = meter, purpose

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """As :meth:`BlackBox.logits`, charged as a whole when called, not when iterated.

        Raises:
            BudgetExceeded: see :meth:`Meter.charge`.
            CraftZooError: the model does not accept such prompts, contexts have a wrong shape or
                are not finite, or a template has no place for the class name; or, while iterating,
                the model answered with a wrong shape or with NaN or infinity.
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
        for template in (
            t for each in templates for t in ((each,) if isinstance(each, str) else each)
        ):
            if template.count("{}") != 1:
                raise CraftZooError(
                    f"the template {template!r} must hold {{}} once, where the class name stands"
                )

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
