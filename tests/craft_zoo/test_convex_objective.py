"""Where the loss of a search falls, the loss of the deployed refiner falls too."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.blackbox import Meter
from craft_zoo.blackbox.base import BlackBox
from craft_zoo.craft import ConvexObjective, RefinerFitter
from craft_zoo.losses import cross_entropy
from craft_zoo.tensors import tensor


class Answers:
    """A model whose only query is the initial prompt."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def score(self, *_: object) -> np.ndarray:
        return self.logits


@pytest.mark.parametrize("seed", range(4))
def test_a_search_of_two_classes_does_not_invert_what_is_deployed(seed: int) -> None:
    """Logits without any information: a logistic regression alone may invert them by chance."""
    labels = np.arange(16) % 2
    logits = np.random.default_rng(seed).standard_normal((16, 2)).astype(np.float32)
    fitter = RefinerFitter(labels=labels, discriminant=True, initial_answer=True)
    objective = ConvexObjective(fitter, meter=Meter(2, 2), refit_queries=1)
    box: BlackBox = Answers(logits)  # type: ignore[assignment]
    objective.begin(box, None, "")  # type: ignore[arg-type]
    _, gradient = objective.output_loss(np.arange(16))(logits)
    step = np.float32(0.01 / np.linalg.norm(gradient)) * gradient

    def deployed(returned: np.ndarray) -> float:
        return float(cross_entropy(tensor(objective.refine(returned)), tensor(labels)))

    assert deployed(logits - step) < deployed(logits)
