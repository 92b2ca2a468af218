"""What a method is given, and methods by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.meter import Meter
from craft_zoo.blackbox.recorded import RecordedVLM
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.data.augment import augmented
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.seeding import generator

DEFAULT_OPTIMIZER = "logit-gn"

# Settings by what reads them; methods declare theirs from these.
SUBSPACE_SETTINGS = frozenset({"intrinsic_dim", "scale"})
SEARCH_SETTINGS = SUBSPACE_SETTINGS | {"context"}
CONVEX_SETTINGS = frozenset({"refit_queries", "patience"})
NETWORK_SETTINGS = frozenset(
    {"consistency", "consistency_share", "hidden", "lr", "batch_size", "epoch_queries", "views"}
)
REFINER_SETTINGS = CONVEX_SETTINGS | NETWORK_SETTINGS | {"refiner"}
ANCHOR_SETTINGS = frozenset({"anchors", "anchor_bank"})


@dataclass
class Problem:
    """All that a method may use: a black box opened on the classes, and the few shots.

    The test images are not here, so no choice can come from them.

    Attributes:
        vlm: the model, for methods that open it on other texts too.
        box: the model opened on the classes, not yet metered.
        images: the N few-shot images.
        labels: (N,) int64.
        meter: counts what is asked; its budget is the run's.
        budget: queries that may be made.
        seed: seed of all that is random.
        optimizer: spec of the optimizer, for methods that use one.
        config: settings.
        views: augmented views of the images for the refiner, each N images; none by default.
        name: of the data set, without its folder; only a method that restates one whose settings
            were published by data set may look at it.
    """

    vlm: VLM
    box: BlackBox
    images: ImageSet
    labels: np.ndarray
    meter: Meter
    budget: int
    seed: int
    optimizer: str = DEFAULT_OPTIMIZER
    config: CraftConfig = field(default_factory=CraftConfig)
    views: Sequence[ImageSet] = ()
    name: str = ""

    @classmethod
    def open(
        cls,
        vlm: VLM,
        classnames: Sequence[str],
        shots: LabelledImages,
        *,
        budget: int,
        seed: int,
        optimizer: str = DEFAULT_OPTIMIZER,
        config: CraftConfig | None = None,
        progress: Progress | None = None,
        name: str = "",
    ) -> Problem:
        """Hand the few shots to a model and open it on the class names.

        Args:
            vlm: the model.
            classnames: C names in words.
            shots: the few shots.
            budget: see :class:`Problem`, as for the arguments that follow.
            seed: of all that is random.
            optimizer: its spec.
            config: settings.
            progress: called as the model takes the images in.
            name: see :class:`Problem`.

        Raises:
            CraftZooError: an image or a class name is bad.
        """
        config = config or CraftConfig()
        rng = generator(seed, "views")
        views = [vlm.images(augmented(shots.images, rng), progress) for _ in range(config.views)]
        return cls(
            vlm=vlm,
            box=vlm.classifier(classnames),
            images=vlm.images(shots.images, progress),
            labels=shots.labels,
            meter=Meter(budget, len(classnames)),
            budget=budget,
            seed=seed,
            optimizer=optimizer,
            config=config,
            views=views,
            name=name,
        )


Method = Callable[[Problem], Iterator[Step]]


@dataclass(frozen=True)
class _Entry:
    method: Method
    uses_optimizer: bool
    white_box: bool
    settings: frozenset[str]


_METHODS: dict[str, _Entry] = {}


def register_method(
    name: str,
    *,
    uses_optimizer: bool = True,
    white_box: bool = False,
    settings: Iterable[str] | None = None,
) -> Callable[[Method], Method]:
    """Decorator: make a method known as ``name``; its docstring's first line describes it.

    Args:
        name: for the command line.
        uses_optimizer: whether its result depends on the optimizer.
        white_box: whether it looks into the model: a reference, drawn dashed.
        settings: the fields of :class:`CraftConfig` that its result depends on; None: all.
    """
    known = {field.name for field in fields(CraftConfig)}
    used = known if settings is None else frozenset(settings)
    assert used <= known, f"no settings: {used - known}"

    def register(method: Method) -> Method:
        _METHODS[name] = _Entry(method, uses_optimizer, white_box, frozenset(used))
        return method

    return register


def get_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        CraftZooError: there is none.
    """
    return _find(name).method


def uses_optimizer(name: str) -> bool:
    """Whether the method's result depends on the optimizer."""
    return _find(name).uses_optimizer


def is_white_box(name: str) -> bool:
    """Whether the method looks into the model."""
    return _find(name).white_box


def settings_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """The settings that the method's result depends on, as ``config`` has them.

    A setting that belongs to the refiner that is not used is not among them.
    """
    idle = NETWORK_SETTINGS if config.refiner == "convex" else CONVEX_SETTINGS
    used = _find(name).settings
    if "refiner" in used:
        used = used - idle
    return {name: getattr(config, name) for name in sorted(used)}


def recorded(vlm: VLM, method: str, journal: Journal, in_flight: int | None = None) -> VLM:
    """The model behind a journal; for a method that looks into the model, the model itself.

    Args:
        vlm: the model.
        method: name of the method that will ask it.
        journal: what the method asked before it was interrupted.
        in_flight: see :class:`~craft_zoo.blackbox.RecordedVLM`.
    """
    return vlm if is_white_box(method) else RecordedVLM(vlm, journal, in_flight)


def method_names() -> dict[str, str]:
    """Every method's name with its one-line description."""
    return {
        name: (entry.method.__doc__ or "").strip().splitlines()[0]
        for name, entry in _METHODS.items()
    }


def _find(name: str) -> _Entry:
    if name not in _METHODS:
        raise CraftZooError(f"unknown method {name!r}: choose from {', '.join(_METHODS)}")
    return _METHODS[name]
