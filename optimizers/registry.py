"""Registry of optimizers, and their creation from a spec such as ``cma:popsize=20``."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import (
    Option,
    check_names,
    parse_options,
    split_assignment,
    whole_number,
)
from craft_zoo.optimizers.plugins import Registry
from craft_zoo.optimizers.space import Dim, Space

ENTRY_POINT_GROUP = "craft_zoo.optimizers"

# Constructor keywords that create() sets itself; all others are options.
_GIVEN = ("budget", "seed", "variant")

O = TypeVar("O", bound=type[Optimizer])  # noqa: E741


def _register_undecorated(name: str, thing: Any) -> None:
    """Register the class of an entry point that lacks the :func:`register` decorator."""
    if isinstance(thing, type) and issubclass(thing, Optimizer):
        register(name)(thing)


REGISTRY: Registry[type[Optimizer]] = Registry(
    "optimizer", "craft_zoo.optimizers", ENTRY_POINT_GROUP, OptimizerError, _register_undecorated
)


def register(name: str) -> Callable[[O], O]:
    """Class decorator that registers an optimizer as ``name``.

    Raises:
        OptimizerError: the name is taken, or contains characters that a spec cannot have.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise OptimizerError(
            f"an optimizer cannot be named {name!r}: use letters, digits, '-', '_' and '.'"
        )

    def decorate(cls: O) -> O:
        REGISTRY.add(name, cls, cls)
        cls.name = name
        return cls

    return decorate


def names() -> dict[str, str]:
    """The names of all optimizers, plug-ins included, with one-line descriptions."""
    return REGISTRY.summaries()


def options(name: str) -> list[Option]:
    """The options of an optimizer: the keyword-only arguments it adds to :class:`Optimizer`'s.

    A constructor that accepts ``**keywords`` also has the options of its parent's constructor.

    Raises:
        OptimizerError: unknown name.
    """
    return list(_declared(_find(name)).values())


@functools.cache
def _declared(owner: type[Optimizer]) -> dict[str, Option]:
    """The options of a class by name; see :func:`options`."""
    constructors: list[type] = []
    for cls in owner.__mro__:
        if "__init__" in vars(cls):
            constructors.insert(0, cls)
            if all(each.kind is not each.VAR_KEYWORD for each in _parameters(cls)):
                break
    found: dict[str, Option] = {}
    for cls in constructors:  # parents first, so that subclasses override
        hints, helps = typing.get_type_hints(vars(cls)["__init__"]), _argument_helps(cls)
        for parameter in _parameters(cls):
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in _GIVEN:
                inherited = found.get(parameter.name)
                found[parameter.name] = Option(
                    parameter.name,
                    hints.get(parameter.name, str),
                    parameter.default,
                    helps.get(parameter.name, inherited.help if inherited else ""),
                )
    return found


def searches(spec: str, *, choices: bool) -> bool:
    """Whether the optimizer can search categorical (``choices``) or real variables.

    Raises:
        OptimizerError: unknown name or option.
    """
    cls = _find(parse_spec(spec)[0])
    return cls.uses_choices if choices else not cls.needs_choices


def uses_blocks(spec: str) -> bool:
    """Whether the optimizer makes use of the blocks of a :class:`Space`.

    Raises:
        OptimizerError: unknown name or option.
    """
    return _find(parse_spec(spec)[0]).uses_blocks


def create(spec: str, space: Space | int, *, budget: int, seed: int, **given: Any) -> Optimizer:
    """Create an optimizer from its spec. All numbers may be Python's or numpy's.

    Args:
        spec: ``name`` or ``name:variant`` (as in ``nevergrad:CMA``), optionally followed by
            ``:option=value,option=value``.
        space: what is searched, or the number of real variables.
        budget: total number of candidates to evaluate.
        seed: seed of all the optimizer's randomness.
        **given: options as Python values; ``spec`` takes precedence.

    Raises:
        OptimizerError: unknown name, variant or option, an invalid value, or a space that the
            optimizer cannot search.
    """
    name, variant, values = parse_spec(spec)
    cls = _find(name)
    declared = _declared(cls)
    owner = f"optimizer {name!r}"
    check_names(given, declared, owner)
    given = {each: declared[each].accept(value, owner) for each, value in given.items()}
    values = given | values
    space = Space.of(space)
    budget, seed = whole_number("budget", budget, 1), whole_number("seed", seed, 0)
    for option in declared.values():
        if option.default is inspect.Parameter.empty and option.name not in values:
            raise OptimizerError(f"{owner} needs its option {option.name!r}: set it")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise OptimizerError(f"{owner} is not finished: its class must implement {missing}")
    parameters = list(inspect.signature(cls).parameters)
    if "variant" in parameters:
        values["variant"] = variant
    elif variant:
        raise OptimizerError(f"optimizer {name!r} has no variants: write {name!r}, not {spec!r}")
    what = space if parameters[:1] == ["space"] else Dim.of(space)
    optimizer = cls(what, budget=budget, seed=seed, **values)
    if not hasattr(optimizer, "_awaited"):
        raise OptimizerError(
            f"{owner} is not finished: its __init__ must call "
            f"super().__init__(space, budget=budget, seed=seed)"
        )
    optimizer._made_from = (str(spec), given)
    return optimizer


def parse_spec(spec: str) -> tuple[str, str, dict[str, Any]]:
    """Parse a spec (see :func:`create`) into name, variant ("" if there is none) and options.

    Raises:
        OptimizerError: unknown name or option, or a value of the wrong type.
    """
    name, *parts = spec.split(":")
    variant = parts.pop(0) if parts and "=" not in parts[0] else ""
    texts = dict(split_assignment(item) for part in parts for item in part.split(","))
    return name, variant, parse_options(texts, _declared(_find(name)), f"optimizer {name!r}")


def _find(name: str) -> type[Optimizer]:
    return REGISTRY.find(name, " (any of nevergrad's as nevergrad:NAME)")


def _parameters(cls: type) -> list[inspect.Parameter]:
    """The parameters of the constructor that the class itself defines."""
    return list(inspect.signature(vars(cls)["__init__"]).parameters.values())


def _argument_helps(cls: type) -> dict[str, str]:
    """The descriptions under ``Args:`` in a class's own docstring, by argument."""
    text = inspect.cleandoc(cls.__doc__ or "")
    section = re.search(r"^Args:\n((?: .*\n?|\n)+)", text, flags=re.MULTILINE)
    if not section:
        return {}
    entries = re.split(r"^ {4}(\w+): ", section.group(1), flags=re.MULTILINE)[1:]
    return {
        name: " ".join(help.split()) for name, help in zip(entries[::2], entries[1::2], strict=True)
    }
