"""Registry of methods: their properties, and which settings each reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from craft_zoo import optimizers
from craft_zoo.anchors import BackgroundFile, words_excluding
from craft_zoo.blackbox.base import VLM
from craft_zoo.blackbox.journal import Journal
from craft_zoo.blackbox.replay import ReplayVLM
from craft_zoo.blackbox.templates import DEFAULT_INIT
from craft_zoo.blackbox.usage import Usage
from craft_zoo.craft import CraftConfig, Step
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.files import HashedPath
from craft_zoo.local_features import check_features
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
# Settings added after runs were stored, at the values that describe those runs. At these values,
# they are left out of a run's identity.
EARLIER_SETTINGS = {
    "template": DEFAULT_INIT,
    "discriminant": False,
    "initial_answer": False,
    "local": "",
    "prior": "uniform",
    "per_image": 0.0,
    "background": "",
}


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


def most_queries(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Maximum number of queries of the method."""
    return min(budget, find_method(name).queries(config, budget, n_classes))


def most_prompts(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Maximum number of prompts under which the method scores its training images.

    A service bills this number of predictions per image. It is smaller than the number of queries
    if many texts, as anchors, are scored under one prompt.
    """
    return min(budget, find_method(name).prompts(config, budget, n_classes))


def most_images(name: str, config: CraftConfig, images: int) -> int:
    """Maximum number of images in a query: all N training images, or a batch of them."""
    return min(images, own_settings(name, config).get(f"{name}.batch", images))


def most_llm_usage(name: str, config: CraftConfig, budget: int, classnames: Sequence[str]) -> Usage:
    """Maximum usage of a language model in a run of the method.

    Raises:
        CraftZooError: the method needs one that is not named.
    """
    pays = find_method(name).pays
    return Usage() if pays is None else pays(config, budget, classnames)


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


def check_method(name: str, optimizer: str | None, *, budget: int, config: CraftConfig) -> None:
    """Check before the first query that a method can be used for tuning.

    Args:
        name: name of the method.
        optimizer: spec of the optimizer; None: the method's default.
        budget: in queries.
        config: the method's settings.

    Raises:
        CraftZooError: the method is unknown, or an adapter cannot represent its solution.
        OptimizerError: the optimizer or an option of it is unknown or has a wrong value, it does
            not suit the method's search space, or the budget is smaller than one generation.
    """
    get_method(name)
    entry = find_method(name)
    if config.refiner == "network" and "refiner" in entry.settings:
        with needs_extra("torch", "the network refiner"):
            import torch  # noqa: F401
    if config.local:
        check_features(config.local)
    most_llm_usage(name, config, budget, ())  # checks that a language model is named
    if not entry.deployable:
        raise CraftZooError(
            f"the solution of {name!r} cannot be deployed: use it in craft-zoo bench only, and "
            f"tune with another method, such as craft"
        )
    if not entry.uses_optimizer:
        return
    optimizer = optimizer or entry.default_optimizer
    if not optimizers.searches(optimizer, choices=entry.is_categorical):
        kind = "choices of words" if entry.is_categorical else "numbers"
        raise optimizers.OptimizerError(
            f"method {name!r} searches {kind}, which {optimizer!r} cannot: leave the optimizer out"
        )
    optimizers.create(optimizer, trial_space(name, config), budget=budget, seed=0)


def check_background(name: str, config: CraftConfig, vlm: VLM) -> None:
    """Check before the first query that the background of the settings is of the model.

    Args:
        name: name of the method, which may not read that setting.
        config: the method's settings.
        vlm: the model.

    Raises:
        CraftZooError: it is of another model, or its file cannot be read.
    """
    if "background" in find_method(name).settings and config.background:
        file = BackgroundFile(config.background)
        file.load().check_model(vlm, file.path)


def check_words(name: str, config: CraftConfig, budget: int, classnames: Sequence[str]) -> None:
    """Check before the first query that there are words enough for the anchors.

    Args:
        name: name of the method, which may have no anchors.
        config: the method's settings.
        budget: in queries.
        classnames: C class names, which are no anchors.

    Raises:
        CraftZooError: there are too few, or the background's file cannot be read.
    """
    if not find_method(name).anchors(config, budget, len(classnames)):
        return
    if config.anchor_bank == "contexts":
        return
    among, where, mend = None, "", ""
    if config.background:
        file = BackgroundFile(config.background)
        among, where = file.load().words, f" in {file.path}"
        mend = ", or make it of more words (--words)"
    words = len(words_excluding(classnames, among))
    if min(config.anchors, (budget - 1) * len(classnames)) > words:
        raise CraftZooError(
            f"{config.anchors:,} anchors were asked for and there are {words:,} words{where} "
            f"besides the class names: lower the setting anchors{mend}"
        )


def most_predictions(name: str, config: CraftConfig, budget: int, images: int, classes: int) -> int:
    """Maximum number of predictions that a service bills for tuning with the method.

    Args:
        name: name of the method.
        config: the method's settings.
        budget: in queries.
        images: number of training images N.
        classes: number of classes C.
    """
    searched = most_prompts(name, config, budget, classes) * most_images(name, config, images)
    return searched + find_method(name).views(config, budget, classes) * images


def readers_of(setting: str, config: CraftConfig | None = None) -> list[str]:
    """Names of the methods whose result depends on a setting.

    Args:
        setting: its name.
        config: the other settings, which may select a refiner that does not read it; None: any.
    """
    REGISTRY.load()
    return [
        name
        for name, entry in REGISTRY.items.items()
        if setting in entry.own
        or (setting in entry.settings and not (config and setting in _idle(entry, config)))
    ]


def _idle(entry: RegisteredMethod, config: CraftConfig) -> frozenset[str]:
    """Settings of the refiner that ``config`` does not select."""
    if "refiner" not in entry.settings:
        return frozenset()
    return NETWORK_SETTINGS if config.refiner == "convex" else CONVEX_SETTINGS


def values_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """Values of all settings that the method's result depends on, its own as ``METHOD.SETTING``.

    Settings of the refiner that ``config`` does not select are excluded.
    """
    used = find_method(name).settings - _idle(find_method(name), config)
    return {each: getattr(config, each) for each in sorted(used)} | own_settings(name, config)


def settings_of(name: str, config: CraftConfig) -> dict[str, Any]:
    """As :func:`values_of`, for a run's identity.

    Settings are excluded that have the values of before there was the setting
    (``EARLIER_SETTINGS``, :func:`earlier_own_settings`; other settings of a method's own: the
    default).
    """
    own = {key: option.default for key, option in find_method(name).own.items()}
    earlier = own | EARLIER_SETTINGS | earlier_own_settings(name)
    values = values_of(name, config).items()
    return {
        key: value.identity if isinstance(value, HashedPath) else value
        for key, value in values
        if key not in earlier or value != earlier[key]
    }


def own_settings(name: str, config: CraftConfig) -> dict[str, Any]:
    """Values of all settings that the method declares itself, by ``METHOD.SETTING``."""
    given = dict(config.own)
    return {key: given.get(key, option.default) for key, option in find_method(name).own.items()}


def earlier_own_settings(name: str) -> dict[str, Any]:
    """Values of the method's own settings that describe runs from before it had them.

    It is empty for unknown methods, as of a plug-in that is not installed.
    """
    REGISTRY.load()
    return REGISTRY.items[name].earlier if name in REGISTRY.items else {}


def own_options() -> dict[str, Option]:
    """Settings that methods declare themselves, by ``METHOD.SETTING``."""
    REGISTRY.load()
    return {name: each for entry in REGISTRY.items.values() for name, each in entry.own.items()}


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
