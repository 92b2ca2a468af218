"""Optimizers by name, with their options: ``cma``, ``cma:popsize=20``, ``nevergrad:NGOpt``."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from importlib import metadata
from typing import Any, TypeVar

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.options import Option, check_names, parse_options, split_assignment

ENTRY_POINT_GROUP = "craft_zoo.optimizers"

O = TypeVar("O", bound=type[Optimizer])  # noqa: E741

_CLASSES: dict[str, type[Optimizer]] = {}
_loaded_plugins = False


def register(name: str) -> Callable[[O], O]:
    """Class decorator: make an optimizer known as ``name``."""

    def decorate(cls: O) -> O:
        if _CLASSES.get(name, cls).__qualname__ != cls.__qualname__:
            raise OptimizerError(f"an optimizer named {name!r} exists already: choose another name")
        _CLASSES[name] = cls
        return cls

    return decorate


def names() -> dict[str, str]:
    """Every optimizer's name with its one-line description; plug-ins included."""
    _load_plugins()
    return {name: _summary(cls) for name, cls in sorted(_CLASSES.items())}


def options(name: str) -> list[Option]:
    """The options of an optimizer: the keyword-only arguments it adds to :class:`Optimizer`'s."""
    cls = _find(name)
    hints = typing.get_type_hints(cls.__init__)
    return [
        Option(parameter.name, hints.get(parameter.name, str), parameter.default)
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.name not in ("budget", "seed", "variant")
    ]


def create(spec: str, dim: int, *, budget: int, seed: int, **given: Any) -> Optimizer:
    """Make an optimizer from its name.

    Args:
        spec: ``name``, ``name:variant`` (as in ``nevergrad:CMA``), each optionally followed by
            ``:option=value,option=value``.
        dim: number of variables.
        budget: how many candidates will be evaluated in all.
        seed: seed of all its randomness.
        **given: options as Python values; those in ``spec`` win.

    Raises:
        OptimizerError: unknown name or option, or a value of the wrong type.
    """
    name, variant, texts = _parse(spec)
    cls = _find(name)
    declared = {option.name: option for option in options(name)}
    owner = f"optimizer {name!r}"
    check_names(given, declared, owner)
    values = given | parse_options(texts, declared, owner)
    if "variant" in inspect.signature(cls.__init__).parameters:
        values["variant"] = variant
    elif variant:
        raise OptimizerError(f"optimizer {name!r} has no variants: write {name!r}, not {spec!r}")
    return cls(dim, budget=budget, seed=seed, **values)


def _parse(spec: str) -> tuple[str, str, dict[str, str]]:
    name, *parts = spec.split(":")
    variant = parts.pop(0) if parts and "=" not in parts[0] else ""
    texts = dict(split_assignment(item) for part in parts for item in part.split(","))
    return name, variant, texts


def _find(name: str) -> type[Optimizer]:
    _load_plugins()
    if name not in _CLASSES:
        raise OptimizerError(
            f"unknown optimizer {name!r}: choose from {', '.join(sorted(_CLASSES))} "
            f"(any of nevergrad's as nevergrad:NAME)"
        )
    return _CLASSES[name]


def _load_plugins() -> None:
    """Import the modules that other packages registered; each uses the decorator itself."""
    global _loaded_plugins
    if _loaded_plugins:
        return
    _loaded_plugins = True
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except Exception as error:
            raise OptimizerError(
                f"the optimizer plug-in {point.name!r} ({point.value}) cannot be imported "
                f"({error}): repair or uninstall it"
            ) from error
        if isinstance(loaded, type) and issubclass(loaded, Optimizer):
            register(point.name)(loaded)


def _summary(cls: type[Optimizer]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]
