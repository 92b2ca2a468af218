"""Registry of methods and their properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from craft_zoo import optimizers
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.replay import ReplayVLM
from craft_zoo.blackbox.usage import Usage
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.optimizers import Space
from craft_zoo.optimizers.option import Option
from craft_zoo.optimizers.plugins import Registry

if TYPE_CHECKING:
    from craft_zoo.methods.problem import Problem

DEFAULT_OPTIMIZER = "logit-gn"
DEFAULT_CATEGORICAL_OPTIMIZER = "columns"  # for methods that search categorical choices (words)

# Groups of settings from which methods declare the settings that they read.
SUBSPACE_SETTINGS = frozenset({"intrinsic_dim", "scale"})
SEARCH_SETTINGS = SUBSPACE_SETTINGS | {"context"}
CONVEX_SETTINGS = frozenset(
    {"discriminant", "initial_answer", "local", "prior", "refit_queries", "patience"}
)
NETWORK_SETTINGS = frozenset(
    {"consistency", "consistency_share", "hidden", "lr", "batch_size", "epoch_queries", "views"}
)
REFINER_SETTINGS = CONVEX_SETTINGS | NETWORK_SETTINGS | {"refiner"}
ANCHOR_SETTINGS = frozenset({"anchors", "anchor_bank", "background", "per_image"})
HARD_SETTINGS = frozenset({"words", "context"})


Method = Callable[["Problem"], Iterator[Step]]
"""Maps the input to the steps of a run; the last one has the result."""

Queries = Callable[[CraftConfig, int, int], int]
"""Maps settings, budget and number of classes to the maximum number of queries."""

Pays = Callable[[CraftConfig, int, Sequence[str]], Usage]
"""Maps settings, budget and class names to the maximum usage of a language model."""


@dataclass(frozen=True)
class RegisteredMethod:
    """A method and its properties, which :func:`register_method` describes.

    A service bills a deployed image once for each of ``1 + anchor_prompts(…)`` prompts; the query
    meter counts ``1 + anchors(…) / C`` predictions.
    """

    method: Method
    uses_optimizer: bool
    is_categorical: bool
    white_box: bool
    settings: frozenset[str]
    own: dict[str, Option]
    earlier: dict[str, Any]
    queries: Queries
    prompts: Queries
    anchors: Queries
    anchor_prompts: Queries
    chooses_words: Callable[[CraftConfig, int, int], bool]
    views: Queries
    pays: Pays | None
    asks_initial: bool
    deployable: bool
    start: str | None
    uses_torch: bool

    @property
    def default_optimizer(self) -> str:
        """The optimizer unless one is specified."""
        return DEFAULT_CATEGORICAL_OPTIMIZER if self.is_categorical else DEFAULT_OPTIMIZER


REGISTRY: Registry[RegisteredMethod] = Registry(
    "method", "craft_zoo.methods", "craft_zoo.methods", CraftZooError
)


def register_method(
    name: str,
    *,
    uses_optimizer: bool = True,
    is_categorical: bool = False,
    white_box: bool = False,
    settings: Iterable[str] | None = None,
    own: Iterable[Option] = (),
    earlier: Mapping[str, Any] = MappingProxyType({}),
    queries: Queries | None = None,
    prompts: Queries | None = None,
    anchors: Queries | None = None,
    anchor_prompts: Queries | None = None,
    chooses_words: Callable[[CraftConfig, int, int], bool] | None = None,
    views: Queries | None = None,
    pays: Pays | None = None,
    asks_initial: bool = True,
    deployable: bool = True,
    start: str | None = None,
    uses_torch: bool = False,
) -> Callable[[Method], Method]:
    """Decorator that registers a method; its docstring's first line is its description.

    Args:
        name: name on the command line.
        uses_optimizer: whether the result depends on the optimizer.
        is_categorical: whether the optimizer searches categorical choices instead of real numbers.
        white_box: whether it accesses the model's internals; such references are drawn dashed.
        settings: the fields of :class:`CraftConfig` that the result depends on, besides the
            template; None: all.
        own: settings that the method alone has, read by :meth:`Problem.own`. The user sets them as
            ``--set METHOD.SETTING=VALUE``. Their types must have hashable values.
        earlier: values of those settings that were added after runs had been stored, as the method
            behaved before. At these values, they are left out of a run's identity.
        queries: maximum number of queries; None: the budget, or 0 for white-box methods.
        prompts: maximum number of prompts under which the training images are scored, which
            determines what a service bills; None: as many as queries.
        anchors: number of anchors on which a deployed image is scored; None: none.
        anchor_prompts: number of prompts under which they are scored.
        chooses_words: whether the words that are deployed as anchors are chosen by their logits on
            the training images; None: they are not.
        views: number of augmented views of the training images (N predictions each) that it scores
            besides its queries; None: one per epoch of the network refiner, if it reads the setting
            ``views`` and that is above 0.
        pays: maximum usage of the language model that it asks; raises CraftZooError if none is
            named. None: it asks none.
        asks_initial: whether it scores the training images under the initial prompt.
        deployable: whether an adapter can represent the solution.
        start: initial prompt, which replaces the setting ``template`` and may be ``dataset`` too;
            None: that of the setting.
        uses_torch: whether the method itself needs the extra ``torch``. Its module must be
            importable without it.
    """
    known = {field.name for field in fields(CraftConfig)} - {"own"}
    used = known if settings is None else frozenset(settings) | {"template"}
    assert used <= known, f"no settings: {used - known}"

    made = queries or (_none if white_box else _all_of_them)

    def register(method: Method) -> Method:
        entry = RegisteredMethod(
            method,
            uses_optimizer,
            is_categorical,
            white_box,
            frozenset(used),
            {
                f"{name}.{option.name}": replace(option, name=f"{name}.{option.name}")
                for option in own
            },
            {f"{name}.{setting}": value for setting, value in earlier.items()},
            queries=made,
            prompts=prompts or made,
            anchors=anchors or _none,
            anchor_prompts=anchor_prompts or _none,
            chooses_words=chooses_words or (lambda *_: False),
            views=views or (_one_per_epoch if "views" in used else _none),
            pays=pays,
            asks_initial=asks_initial,
            deployable=deployable,
            start=start,
            uses_torch=uses_torch,
        )
        REGISTRY.add(name, entry, method)
        return method

    return register


def _none(_config: CraftConfig, _budget: int, _n_classes: int) -> int:
    return 0


def _one_per_epoch(config: CraftConfig, budget: int, _n_classes: int) -> int:
    trains = config.refiner == "network" and config.views > 0
    return max(1, budget // config.epoch_queries) if trains else 0


def _all_of_them(_config: CraftConfig, budget: int, _n_classes: int) -> int:
    return budget


def find_method(name: str) -> RegisteredMethod:
    """The method called ``name`` with its properties, also if its extra is missing.

    Raises:
        CraftZooError: no method has this name.
    """
    return REGISTRY.find(name)


def get_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        CraftZooError: no method has this name, or its extra is missing.
    """
    entry = find_method(name)
    if entry.uses_torch:
        with needs_extra("torch", f"method {name!r}"):
            import torch  # noqa: F401
    return entry.method


def optimizers_for(name: str, specs: Sequence[str]) -> list[str]:
    """Optimizers in ``specs`` that suit the method's search space; its default if none does.

    Raises:
        CraftZooError: unknown method.
        OptimizerError: unknown optimizer or option.
    """
    found = find_method(name)
    return [spec for spec in specs if optimizers.searches(spec, choices=found.is_categorical)] or [
        found.default_optimizer
    ]


def trial_space(name: str, config: CraftConfig) -> Space:
    """A space of the kind that the method searches, to check an optimizer before the first query.

    It has ``intrinsic_dim`` variables; a method may search more, or choices of more values.

    Raises:
        CraftZooError: unknown method.
    """
    dim = config.intrinsic_dim
    return Space(dim, choices=[2] * dim if find_method(name).is_categorical else None)


def is_white_box(name: str) -> bool:
    """Whether the method accesses the model's internals."""
    return find_method(name).white_box


def recorded(vlm: VLM, method: str, journal: Journal, in_flight: int | None = None) -> VLM:
    """Wrap a model with a journal; for white-box methods, return the model itself.

    Args:
        vlm: the model.
        method: name of the method that will query it.
        journal: queries and answers of the method before an interruption.
        in_flight: see :class:`~craft_zoo.blackbox.ReplayVLM`.
    """
    return vlm if is_white_box(method) else ReplayVLM(vlm, journal, in_flight)


def method_names() -> dict[str, str]:
    """Every method's name → its one-line description."""
    return REGISTRY.summaries(by_name=False)
