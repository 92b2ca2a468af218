"""What a method is given, and methods by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np

from craft_zoo import optimizers
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompt
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.meter import Meter
from craft_zoo.blackbox.replay import ReplayVLM
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, words_before
from craft_zoo.craft import DATASET_TEMPLATE, CraftConfig, Step
from craft_zoo.data.augment import augmented
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.plugins import Registry
from craft_zoo.seeding import generator

DEFAULT_OPTIMIZER = "logit-gn"
DEFAULT_CHOOSER = "columns"  # of methods that search choices, words

# Settings by what reads them; methods declare theirs from these.
SUBSPACE_SETTINGS = frozenset({"intrinsic_dim", "scale"})
SEARCH_SETTINGS = SUBSPACE_SETTINGS | {"context"}
CONVEX_SETTINGS = frozenset({"refit_queries", "patience"})
NETWORK_SETTINGS = frozenset(
    {"consistency", "consistency_share", "hidden", "lr", "batch_size", "epoch_queries", "views"}
)
REFINER_SETTINGS = CONVEX_SETTINGS | NETWORK_SETTINGS | {"refiner"}
ANCHOR_SETTINGS = frozenset({"anchors", "anchor_bank"})
HARD_SETTINGS = frozenset({"words", "context"})
# Settings that came later: where they are at their defaults, a run is what it was without them.
_LATER = frozenset({"template"})


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
        template: the prompt to start from.
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
    template: str = as_template(DEFAULT_INIT)

    @property
    def initial_prompt(self) -> Prompt:
        """What a method starts from: the template, as the initial context where there is one."""
        return self.box.initial_prompt if self.box.template == self.template else self.template

    @property
    def initial_context(self) -> np.ndarray:
        """(n_ctx, dim) that a search of contexts starts from.

        Raises:
            CraftZooError: the model takes words only.
        """
        self.check_accepts("contexts")
        return self.box.initial_context

    def check_accepts(self, kind: Literal["contexts", "texts"]) -> None:
        """Check that the model can be asked with contexts, or with words.

        Raises:
            CraftZooError: it cannot.
        """
        if kind in self.box.accepts:
            return
        if kind == "contexts":
            raise CraftZooError(
                f"{self.vlm.name} takes words only, no contexts: use a method that asks in words, "
                f"as hard, craft-hard, refine or anchors"
            )
        raise CraftZooError(
            f"{self.vlm.name} takes contexts only, no words: use a method that asks with contexts, "
            f"as craft, prompt, refine or anchors"
        )

    def classifier(self, texts: Sequence[str]) -> BlackBox:
        """The model opened on other texts, under the same initial words."""
        return self.vlm.classifier(texts, self.box.template)

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
        template: str | None = None,
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
            template: the data set's own, which the setting may ask for.

        Raises:
            CraftZooError: an image or a class name is bad.
        """
        config = config or CraftConfig()
        prompt = starting_template(config, template)
        rng = generator(seed, "views")
        views = [vlm.images(augmented(shots.images, rng), progress) for _ in range(config.views)]
        return cls(
            vlm=vlm,
            # A context needs words that it stands for.
            box=vlm.classifier(classnames, prompt if words_before(prompt) else DEFAULT_INIT),
            images=vlm.images(shots.images, progress),
            labels=shots.labels,
            meter=Meter(budget, len(classnames)),
            budget=budget,
            seed=seed,
            optimizer=optimizer,
            config=config,
            views=views,
            name=name,
            template=prompt,
        )


def starting_template(config: CraftConfig, own: str | None) -> str:
    """The prompt that a method starts from.

    Args:
        config: its settings, which may ask for the data set's own template.
        own: that one; None: the data set has none.
    """
    words = config.template
    return as_template((own or DEFAULT_INIT) if words == DATASET_TEMPLATE else words)


Method = Callable[[Problem], Iterator[Step]]


Queries = Callable[[CraftConfig, int, int], int]
"""At most so many queries, of the settings, the budget and the number of classes."""


@dataclass(frozen=True)
class _Entry:
    method: Method
    uses_optimizer: bool
    chooses: bool
    white_box: bool
    settings: frozenset[str]
    queries: Queries
    prompts: Queries
    anchor_prompts: Queries
    asks_initial: bool
    deployable: bool


REGISTRY: Registry[_Entry] = Registry(
    "method", "craft_zoo.methods", "craft_zoo.methods", CraftZooError
)


def register_method(
    name: str,
    *,
    uses_optimizer: bool = True,
    chooses: bool = False,
    white_box: bool = False,
    settings: Iterable[str] | None = None,
    queries: Queries | None = None,
    prompts: Queries | None = None,
    anchor_prompts: Queries | None = None,
    asks_initial: bool = True,
    deployable: bool = True,
) -> Callable[[Method], Method]:
    """Decorator: make a method known as ``name``; its docstring's first line describes it.

    Args:
        name: for the command line.
        uses_optimizer: whether its result depends on the optimizer.
        chooses: whether what the optimizer searches are choices, not numbers.
        white_box: whether it looks into the model: a reference, drawn dashed.
        settings: the fields of :class:`CraftConfig` that its result depends on beside the template;
            None: all.
        queries: how many it makes at most; None: the budget, or none where it looks into the model.
        prompts: under how many the training images are asked about at most, which is what a service
            bills; None: as many as queries.
        anchor_prompts: under how many an image is asked about its anchors, when deployed too; None:
            it has no anchors.
        asks_initial: whether it asks about the training images under the initial prompt.
        deployable: whether an adapter can hold what it finds.
    """
    known = {field.name for field in fields(CraftConfig)}
    used = known if settings is None else frozenset(settings) | {"template"}
    assert used <= known, f"no settings: {used - known}"

    made = queries or (_none if white_box else _all_of_them)

    def register(method: Method) -> Method:
        entry = _Entry(
            method,
            uses_optimizer,
            chooses,
            white_box,
            frozenset(used),
            queries=made,
            prompts=prompts or made,
            anchor_prompts=anchor_prompts or _none,
            asks_initial=asks_initial,
            deployable=deployable,
        )
        REGISTRY.add(name, entry, method)
        return method

    return register


def _none(_config: CraftConfig, _budget: int, _n_classes: int) -> int:
    return 0


def _all_of_them(_config: CraftConfig, budget: int, _n_classes: int) -> int:
    return budget


def most_queries(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """How many queries the method makes at most."""
    return min(budget, _find(name).queries(config, budget, n_classes))


def most_prompts(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Under how many prompts the method asks about its training images at most.

    A service bills as many predictions of each image. They are fewer than the queries where many
    texts are asked about under one prompt, as anchors are.
    """
    return min(budget, _find(name).prompts(config, budget, n_classes))


def prompts_an_image(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Under how many prompts a deployed image is asked about, each of which a service bills."""
    return 1 + _find(name).anchor_prompts(config, budget, n_classes)


def asks_initial(name: str) -> bool:
    """Whether the method asks about its training images under the initial prompt."""
    return _find(name).asks_initial


def get_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        CraftZooError: there is none.
    """
    return _find(name).method


def uses_optimizer(name: str) -> bool:
    """Whether the method's result depends on the optimizer."""
    return _find(name).uses_optimizer


def default_optimizer(name: str) -> str:
    """The optimizer of the method where none is asked for."""
    return DEFAULT_CHOOSER if _find(name).chooses else DEFAULT_OPTIMIZER


def optimizers_for(name: str, specs: Sequence[str]) -> list[str]:
    """Those of several optimizers that can search what the method searches; else its default.

    Raises:
        CraftZooError: unknown method.
        OptimizerError: unknown optimizer or option.
    """
    chooses = _find(name).chooses
    return [spec for spec in specs if optimizers.searches(spec, choices=chooses)] or [
        default_optimizer(name)
    ]


def is_white_box(name: str) -> bool:
    """Whether the method looks into the model."""
    return _find(name).white_box


def check_method(name: str, optimizer: str | None, *, budget: int, config: CraftConfig) -> None:
    """Check that a method can be tuned with, before anything is asked.

    Args:
        name: of the method.
        optimizer: its spec; None: the method's default.
        budget: in queries.
        config: the method's settings.

    Raises:
        CraftZooError: the method is unknown, or no adapter can hold what it finds.
        OptimizerError: the optimizer or an option of it is unknown or has a wrong value, it cannot
            search what the method searches, or the budget has no room for one generation of it.
    """
    entry = _find(name)
    if not entry.deployable:
        raise CraftZooError(
            f"what {name!r} finds cannot be deployed: compare with it in craft-zoo bench, and tune "
            f"with another method, as craft"
        )
    if not entry.uses_optimizer:
        return
    optimizer = optimizer or default_optimizer(name)
    if not optimizers.searches(optimizer, choices=entry.chooses):
        kind = "choices of words" if entry.chooses else "numbers"
        raise optimizers.OptimizerError(
            f"method {name!r} searches {kind}, which {optimizer!r} cannot: leave the optimizer out"
        )
    optimizers.create(optimizer, config.intrinsic_dim, budget=budget, seed=0)


def most_predictions(name: str, config: CraftConfig, budget: int, images: int, classes: int) -> int:
    """How many predictions a service bills for tuning with the method at most.

    Args:
        name: of the method.
        config: its settings.
        budget: in queries.
        images: N training images.
        classes: C.
    """
    prompts = most_prompts(name, config, budget, classes)
    # A network refiner that learns from augmented views asks about one for each of its epochs.
    if settings_of(name, config).get("views", 0):
        prompts += max(1, budget // config.epoch_queries)
    return prompts * images


def readers_of(setting: str) -> list[str]:
    """The methods whose result depends on a setting, by name."""
    REGISTRY.load()
    return [name for name, entry in REGISTRY.things.items() if setting in entry.settings]


def settings_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """The settings that the method's result depends on, as ``config`` has them.

    A setting that belongs to the refiner that is not used is not among them.
    """
    idle = NETWORK_SETTINGS if config.refiner == "convex" else CONVEX_SETTINGS
    used = _find(name).settings
    if "refiner" in used:
        used = used - idle
    default = CraftConfig()
    used = used - {name for name in _LATER if getattr(config, name) == getattr(default, name)}
    return {name: getattr(config, name) for name in sorted(used)}


def recorded(vlm: VLM, method: str, journal: Journal, in_flight: int | None = None) -> VLM:
    """The model behind a journal; for a method that looks into the model, the model itself.

    Args:
        vlm: the model.
        method: name of the method that will ask it.
        journal: what the method asked before it was interrupted.
        in_flight: see :class:`~craft_zoo.blackbox.ReplayVLM`.
    """
    return vlm if is_white_box(method) else ReplayVLM(vlm, journal, in_flight)


def method_names() -> dict[str, str]:
    """Every method's name with its one-line description."""
    return REGISTRY.summaries(by_name=False)


def _find(name: str) -> _Entry:
    return REGISTRY.find(name)
