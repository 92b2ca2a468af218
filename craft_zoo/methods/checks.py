"""Checks before the first query that a method can be used with its settings, model and classes."""

from __future__ import annotations

from collections.abc import Sequence

from craft_zoo import optimizers
from craft_zoo.anchors import BackgroundFile, words_excluding
from craft_zoo.blackbox.base import VLM
from craft_zoo.craft import CraftConfig
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.local_features import check_features
from craft_zoo.methods.costs import most_llm_usage
from craft_zoo.methods.registry import find_method, get_method, trial_space


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
