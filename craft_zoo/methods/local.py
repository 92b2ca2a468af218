"""A classifier on local features alone, the baseline of methods that use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet
from craft_zoo.craft import Step
from craft_zoo.local_features import DEFAULT_FEATURES, extract, fit_classifiers, fused
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.solution import Solution


@register_method(
    "local",
    uses_optimizer=False,
    settings={"local"},
    queries=lambda *_: 0,
    asks_initial=False,
    deployable=False,
)
def local(problem: Problem) -> Iterator[Step]:
    """A classifier on features that this machine computes (setting local): queries no model."""
    spec = problem.config.local or DEFAULT_FEATURES
    experts = fit_classifiers(
        extract(spec, problem.images),
        problem.labels,
        len(problem.box.classnames),
        problem.groups,
    )
    _, classifier, _ = fused(spec, experts, problem.labels)
    learnt = accuracy(classifier.logits(problem.images), problem.labels)
    yield Step(0, LocalSolution(problem.initial_prompt, local=classifier), train_accuracy=learnt)


@dataclass(repr=False)
class LocalSolution(Solution):
    """A classifier on local features, for which no model is needed."""

    deployable: ClassVar[bool] = False

    @property
    def predictions(self) -> float:
        """None are needed."""
        return 0.0

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the classifier, without querying the black box."""
        assert self.local is not None
        return self.local.logits(images)
