"""CraFT with the settings and the code's habits that its authors released."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from craft_zoo import optimizers
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Prompts
from craft_zoo.blackbox.wrappers import WrappedBlackBox
from craft_zoo.craft import CraftConfig, Step, collaborate
from craft_zoo.data.augment import resized_crops
from craft_zoo.errors import CraftZooError
from craft_zoo.methods.collaborative import network_objective
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import Subspace
from craft_zoo.seeding import derived_seed, generator

Deployed = Literal["samples", "best", "mean"]


@dataclass(frozen=True)
class ReleasedSettings:
    """Settings that CraFT's authors released for a data set; the defaults are the common ones.

    Attributes:
        sigma: initial step size of CMA-ES.
        std: standard deviation of the entries of the projection matrix A.
        bound: largest absolute coordinate of candidates; None: unbounded.
        consistency: weight w of the prediction-consistent loss term.
        share: share of the budget (the paper's 1/n) after which the refiner's loss drops that term.
        batch_size: batch size of the refiner's training.
        hidden: width of the refiner's hidden layer.
        popsize: candidates per generation; the refiner trains one epoch per generation.
        intrinsic_dim: dimension d of the search space.
        lr: Adam's learning rate for the refiner.
        deploys: the deployed context: the mean of ``popsize`` fresh ``samples``, or the ``best``
            candidate so far.
        crop: smallest share of an image's area that a view shows.
        default_linear: whether the code draws A as PyTorch initialises a linear layer, uniformly in
            ±1/√d, and ignores ``std``, which its configuration file states.
    """

    sigma: float = 1.0
    std: float = 0.2
    bound: float | None = 5.0
    consistency: float = 0.1
    share: float = 0.25
    batch_size: int = 256
    hidden: int = 256
    popsize: int = 40
    intrinsic_dim: int = 512
    lr: float = 1e-3
    deploys: Deployed = "samples"
    crop: float = 0.5
    default_linear: bool = False

    def optimizer(self, step: str, deploys: Deployed) -> str:
        """Spec of the released CMA-ES."""
        bound = "" if self.bound is None else f",bound={self.bound}"
        options = f"popsize={self.popsize},sigma={self.sigma}{bound}"
        return f"cma:{options},step={step},recommends={deploys}"

    def config(self, views: int) -> CraftConfig:
        """The refiner's settings."""
        return CraftConfig(
            refiner="network",
            consistency=self.consistency,
            consistency_share=self.share,
            hidden=self.hidden,
            lr=self.lr,
            batch_size=self.batch_size,
            epoch_queries=self.popsize,
            views=views,
        )


COMMON = ReleasedSettings()
"""For Caltech101, Flowers102, Stanford Cars, SUN397, UCF101 and data sets not in the table."""

TABLE: dict[str, ReleasedSettings] = {
    "oxford_pets": ReleasedSettings(sigma=0.02, share=1, batch_size=64),
    "fgvc_aircraft": ReleasedSettings(sigma=0.02, bound=None),
    "dtd": ReleasedSettings(sigma=0.02, std=1, consistency=0.001, share=1),
    "eurosat": ReleasedSettings(sigma=0.02, std=1, consistency=0.01, share=1),
    "food101": ReleasedSettings(bound=None, consistency=1, share=1),
    "imagenet": ReleasedSettings(
        std=1,
        bound=None,
        consistency=0,
        share=1,
        hidden=512,
        deploys="best",
        crop=0.08,
        default_linear=True,
    ),
}

OPTIONS = (
    Option("step", Literal["csa", "auto"], "csa", "csa, or auto: pycma's present choice"),
    Option("deploys", Deployed | None, None, "samples, best or mean; none: by data set"),
    Option("scored", Literal["view", "images"], "view", "what candidates are scored on"),
    Option("learns", Literal["views", "queries"], "views", "what the refiner is trained on"),
    Option("features", Literal["raw", "normalised"], "raw", "of the images that it is trained on"),
    Option("crop", float | None, None, "smallest share of the area in a view; none: by data set"),
    Option(
        "projection", Literal["code", "file"], "code", "A of ImageNet: drawn by code or by file"
    ),
)


@register_method(
    "craft-released",
    uses_optimizer=False,
    settings={"views"},
    own=OPTIONS,
    earlier={
        "step": "auto",
        "deploys": "mean",
        "scored": "images",
        "learns": "queries",
        "features": "normalised",
        "crop": None,
        "projection": "file",
    },
    views=lambda config, budget, _: budget // COMMON.popsize if _learns_views(config) else 0,
)
def craft_released(problem: Problem) -> Iterator[Step]:
    """CraFT as released (Wang et al. 2024): CMA-ES, network refiner, settings by data set.

    Each habit of the released code is a setting, whose default is the code's:

    - ``step=csa``: the step size of CMA-ES follows the length of its path, as in pycma of 2024;
      ``auto`` is the choice of today's pycma, two-point adaptation from 300 variables on.
    - ``deploys=none``: the deployed context is the mean of 40 fresh samples, on ImageNet the best
      candidate so far; ``samples``, ``best`` or ``mean`` (of the search distribution) set it.
    - ``scored=view``: candidates are scored on one augmented view of the training images, drawn
      once; ``images``: on the images themselves.
    - ``learns=views``: the refiner learns from a fresh view each generation, at N predictions;
      ``queries``: from the logits of the search, or with ``views=V`` from V views in turn.
    - ``features=raw``: the image features of these views are not normalised, while those of the
      search and of the test are. Only a model on this machine can tell their lengths.
    - ``crop=none``: a view shows half to all of an image, on ImageNet 8 % to all.
    - ``projection=code``: on ImageNet, the matrix A is that of the code, which ignores the standard
      deviation of its configuration file; ``file``: that of the file.
    """
    settings = TABLE.get(problem.name, COMMON)
    own = problem.own_of("craft-released")
    crop = settings.crop if own("crop") is None else own("crop")
    if not 0 < crop <= 1:
        raise CraftZooError(f"setting craft-released.crop must be in (0, 1], not {crop}")
    views = _FreshViews(problem, crop)
    scored = views.draw("scored") if own("scored") == "view" else problem.images
    learner = replace(problem, config=settings.config(problem.config.views))
    if own("learns") == "views":
        learner = replace(learner, views=views)
        if own("features") == "raw":
            if problem.vlm.feature_lengths(scored) is None:  # before the first query
                raise CraftZooError(
                    f"craft-released trains its refiner on image features that are not "
                    f"normalised, and {problem.vlm.name} does not return their lengths: set "
                    f"craft-released.features=normalised"
                )
            learner = replace(learner, box=_RawFeatures(problem.box, problem.vlm))
    is_uniform = settings.default_linear and own("projection") == "code"
    dim = settings.intrinsic_dim
    space = Subspace(
        problem.initial_context,
        dim,
        std=1 / math.sqrt(3 * dim) if is_uniform else settings.std,
        seed=problem.seed,
        entries="uniform" if is_uniform else "normal",
    )
    yield from collaborate(
        problem.box,
        scored,
        meter=problem.meter,
        optimizer=optimizers.create(
            settings.optimizer(own("step"), own("deploys") or settings.deploys),
            space.variables,
            budget=problem.budget,
            seed=derived_seed(problem.seed, "optimizer"),
        ),
        space=space,
        objective=network_objective(learner),
        seed=problem.seed,
    )


def _learns_views(config: CraftConfig) -> bool:
    own = dict(config.own)
    return own.get("craft-released.learns", "views") == "views" or config.views > 0


class _FreshViews(Sequence[ImageSet]):
    """Augmented views of the training images, one for each generation, made when they are used."""

    def __init__(self, problem: Problem, crop: float) -> None:
        self._problem, self._crop = problem, crop

    def __len__(self) -> int:
        return self._problem.budget

    def __getitem__(self, place: Any) -> Any:
        return self.draw(str(place))

    def draw(self, purpose: str) -> ImageSet:
        """A view drawn with the random numbers of ``purpose``."""
        vlm, rng = self._problem.vlm, generator(self._problem.seed, f"released view {purpose}")
        views = resized_crops(self._problem.images.sources, rng, vlm.image_size, self._crop)
        return vlm.images(views, keep=False)


class _RawFeatures(WrappedBlackBox):
    """The logits that a model would return if its image features were not normalised."""

    def __init__(self, box: BlackBox, vlm: VLM) -> None:
        super().__init__(box)
        self._vlm = vlm

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        lengths = self._vlm.feature_lengths(images)
        assert lengths is not None, "checked before the search"
        for logits in self._box.logits(prompts, images):
            yield logits * lengths[:, None]
