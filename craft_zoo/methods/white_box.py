"""White-box reference methods, which use the model's gradients or image features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Prompt
from craft_zoo.craft import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import cross_entropy
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.refiner import ConvexRefiner, choose_regularization, fit
from craft_zoo.solution import Solution

if TYPE_CHECKING:
    import torch

    from craft_zoo.openclip import OpenCLIP

_STEPS = 300
_STEP_SIZE = 0.2  # Adam's learning rate, in units of the initial context's root mean square


@register_method("coop", uses_optimizer=False, white_box=True, settings=(), uses_torch=True)
def coop(problem: Problem) -> Iterator[Step]:
    """White box: a context learned by back-propagation (CoOp, Zhou et al. 2022).

    Full-batch Adam, 300 steps, cosine schedule, no augmentation; the context is initialized from
    the initial words. These are our settings; CoOp uses SGD for 50 to 200 epochs, augmented.
    """
    import torch

    return _back_propagated(problem, torch.from_numpy(problem.box.initial_context))


@register_method("coop-csc", uses_optimizer=False, white_box=True, settings=(), uses_torch=True)
def coop_csc(problem: Problem) -> Iterator[Step]:
    """White box: a context per class by back-propagation (CoOp's CSC, Zhou et al. 2022)."""
    import torch

    start = torch.from_numpy(problem.box.initial_context)
    return _back_propagated(problem, start.repeat(len(problem.box.classnames), 1, 1))


def _back_propagated(problem: Problem, start: torch.Tensor) -> Iterator[Step]:
    """Learn contexts as in :func:`coop`; ``start`` is (n_ctx, dim) or (C, n_ctx, dim)."""
    import torch

    opened = local_model(problem).white_box(problem.box.classnames, problem.box.template)
    unit = start.square().mean().sqrt()
    moved = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([moved], lr=_STEP_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
    labels = torch.from_numpy(problem.labels)
    for _ in range(_STEPS):
        logits = opened.logits(start + unit * moved, problem.images)
        loss = cross_entropy(logits, labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    learnt = accuracy(logits.detach().numpy(), problem.labels)
    context = (start + unit * moved).detach().numpy()
    yield Step(0, Solution(context), float(loss.detach()), learnt)


@register_method(
    "linear-probe", uses_optimizer=False, white_box=True, settings=(), deployable=False
)
def linear_probe(problem: Problem) -> Iterator[Step]:
    """White box: logistic regression on the image features (Radford et al. 2021)."""
    features = local_model(problem).features(problem.images)
    nothing = np.zeros((len(features), len(problem.box.classnames)), dtype=np.float32)
    regularization = choose_regularization(nothing, problem.labels, features, problem.groups)
    probe = fit(nothing, problem.labels, features, regularization=regularization)
    yield probe_step(problem, problem.box.initial_context, probe, features)


def probe_step(
    problem: Problem, prompt: Prompt, probe: ConvexRefiner, features: np.ndarray
) -> Step:
    """The only step of a method that fits a linear classifier to features of the images."""
    nothing = np.zeros((len(features), probe.n_classes), np.float32)
    train_accuracy = accuracy(probe.refine(nothing, features), problem.labels)
    return Step(0, LinearProbe(prompt, probe, vlm=problem.vlm), train_accuracy=train_accuracy)


@dataclass(kw_only=True)
class LinearProbe(Solution):
    """Linear classifier on image features, which no adapter can represent.

    Attributes:
        vlm: the model that computes the features.
    """

    deployable: ClassVar[bool] = False

    vlm: VLM

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) logits of the regression, without querying the black box."""
        assert isinstance(self.refiner, ConvexRefiner)
        features = self.vlm.features(images)
        nothing = np.zeros((len(features), self.refiner.n_classes), dtype=np.float32)
        return self.refiner.refine(nothing, features)


def local_model(problem: Problem) -> OpenCLIP:
    """The problem's model, if it is on this machine.

    Raises:
        CraftZooError: it is not.
    """
    model = sys.modules.get("craft_zoo.openclip.model")  # loaded with the first model
    if model is None or not isinstance(problem.vlm, model.OpenCLIP):
        raise CraftZooError(
            f"{problem.vlm.name} does not expose its internals: white-box methods need a model on "
            f"this machine"
        )
    return problem.vlm
