"""A registry of named things that modules add to when they are imported.

One file adds one thing: a module that is dropped into a registry's package, or that another package
offers as an entry point, is imported when a name is first looked up, and registers what it defines.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module, metadata
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


class Registry(Generic[Thing]):
    """Things by name.

    Args:
        kind: what a thing is called in messages, as in "optimizer".
        package: the package whose modules register their things.
        group: the entry point group by which other packages offer theirs.
        error: raised where a name is unknown or taken.
        offered: called with the name and the object of an entry point; by default an entry point
            is a module, or anything in one, that registers itself when it is imported.

    Attributes:
        things: those registered so far, by name.
        broken: modules that cannot be imported, by name, each with a sentence that says why.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        group: str,
        error: type[Exception],
        offered: Callable[[str, Any], None] = lambda name, thing: None,
    ) -> None:
        self.kind, self._package, self._group = kind, package, group
        self._error, self._offered = error, offered
        self.things: dict[str, Thing] = {}
        self._sources: dict[str, Any] = {}
        self.broken: dict[str, str] = {}
        self._is_loaded = False

    def add(self, name: str, thing: Thing, source: Any) -> None:
        """Register a thing.

        Args:
            name: of the thing.
            thing: what :meth:`find` returns.
            source: the class or function that defines it. Defined again, as in a notebook, it
                replaces the former.

        Raises:
            Exception: of the kind ``error``: another class or function has the name.
        """
        known = self._sources.get(name, source)
        if (known.__module__, known.__qualname__) != (source.__module__, source.__qualname__):
            raise self._error(f"the {self.kind} {name!r} exists already: choose another name")
        self.things[name], self._sources[name] = thing, source

    def find(self, name: str, choices: str = "") -> Thing:
        """The thing of a name.

        Args:
            name: of the thing.
            choices: added to the names that a message lists.

        Raises:
            Exception: of the kind ``error``: there is none, or its module cannot be imported.
        """
        self.load()
        is_name = isinstance(name, str)
        if is_name and name in self.broken:
            raise self._error(self.broken[name])
        if not is_name or name not in self.things:
            raise self._error(
                f"unknown {self.kind} {name!r}: {did_you_mean(str(name), self.things)}choose from "
                f"{', '.join(sorted(self.things))}{choices}"
            )
        return self.things[name]

    def summaries(self, *, by_name: bool = True) -> dict[str, str]:
        """Every name with the first line of its source's docstring, and behind them those that
        cannot be imported, with the reason.

        Args:
            by_name: sort the names; otherwise they are in the order of registration.
        """
        self.load()
        return {
            name: (inspect.getdoc(self._sources[name]) or "no description").splitlines()[0]
            for name in (sorted(self.things) if by_name else self.things)
        } | self.broken

    def load(self) -> None:
        """Import the modules of the package and the entry points, unless that was done before."""
        if self._is_loaded:
            return
        self._is_loaded = True  # a module may look names up while it is imported
        for module in iter_modules(import_module(self._package).__path__):
            whole = f"{self._package}.{module.name}"
            self._import(module.name, whole, partial(import_module, whole))
        for point in metadata.entry_points(group=self._group):
            thing = self._import(point.name, point.value, point.load)
            if thing is not None:
                self._offered(point.name, thing)

    def _import(self, name: str, place: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except (Exception, SystemExit) as error:  # the others can be used nevertheless
            self.broken[name] = (
                f"the {self.kind} plug-in {name!r} ({place}) cannot be imported "
                f"({type(error).__name__}: {error}): repair or uninstall it"
            )
            return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name among those known that is nearest to a mistyped one, as a question; "" if none is.

    It ends with a space, so that a sentence can go on behind it.
    """
    lower = {each.lower(): each for each in known}
    similar = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[similar[0]]!r}? " if similar else ""
