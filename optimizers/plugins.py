"""Registries of named objects that modules register when they are imported.

The modules are those of the registry's package and the entry points of other packages. They are
imported when a name is first looked up.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module, metadata
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Registered objects by name.

    Args:
        kind: word for an object in error messages, such as "optimizer".
        package: package whose modules register objects.
        group: entry point group of other packages' objects.
        error: exception type raised if a name is unknown or taken.
        on_entry_point: called with the name and the object of each entry point; the default, which
            does nothing, suffices if an entry point's module registers its objects when imported.

    Attributes:
        items: the objects registered so far, by name.
        broken: error messages of the modules that cannot be imported, by name.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        group: str,
        error: type[Exception],
        on_entry_point: Callable[[str, Any], None] = lambda name, item: None,
    ) -> None:
        self.kind, self._package, self._group = kind, package, group
        self._error, self._on_entry_point = error, on_entry_point
        self.items: dict[str, Item] = {}
        self._sources: dict[str, Any] = {}
        self.broken: dict[str, str] = {}
        self._is_loaded = False

    def add(self, name: str, item: Item, source: Any) -> None:
        """Register an object.

        Args:
            name: name of the object.
            item: the object that :meth:`find` returns.
            source: the class or function that defines the object. If it is defined again, as in a
                notebook, the new object replaces the old one.

        Raises:
            Exception: of type ``error``, if another class or function has the name.
        """
        known = self._sources.get(name, source)
        if (known.__module__, known.__qualname__) != (source.__module__, source.__qualname__):
            raise self._error(f"the {self.kind} {name!r} exists already: choose another name")
        self.items[name], self._sources[name] = item, source

    def register(self, *names: str) -> Callable[[Item], Item]:
        """Decorator that registers what it decorates, see :meth:`add`.

        Args:
            *names: its names.
        """

        def register(item: Item) -> Item:
            for name in names:
                self.add(name, item, item)
            return item

        return register

    def find(self, name: str, choices: str = "") -> Item:
        """The object registered as ``name``.

        Args:
            name: name of the object.
            choices: text appended to the list of names in the error message.

        Raises:
            Exception: of type ``error``, if the name is unknown or its module cannot be imported.
        """
        self.load()
        is_name = isinstance(name, str)
        if is_name and name in self.broken:
            raise self._error(self.broken[name])
        if not is_name or name not in self.items:
            raise self._error(
                f"unknown {self.kind} {name!r}: {did_you_mean(str(name), self.items)}choose from "
                f"{', '.join(sorted(self.items))}{choices}"
            )
        return self.items[name]

    def summaries(self, *, by_name: bool = True) -> dict[str, str]:
        """Names with the first line of the docstring of their source, then :attr:`broken`.

        Args:
            by_name: sort by name instead of by order of registration.
        """
        self.load()
        return {
            name: (inspect.getdoc(self._sources[name]) or "no description").splitlines()[0]
            for name in (sorted(self.items) if by_name else self.items)
        } | self.broken

    def load(self) -> None:
        """Import the package's modules and the entry points, once."""
        if self._is_loaded:
            return
        self._is_loaded = True  # set first: a module may call find() while it is imported
        for module in iter_modules(import_module(self._package).__path__):
            whole = f"{self._package}.{module.name}"
            self._import(module.name, whole, partial(import_module, whole))
        for point in metadata.entry_points(group=self._group):
            item = self._import(point.name, point.value, point.load)
            if item is not None:
                self._on_entry_point(point.name, item)

    def _import(self, name: str, place: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except (Exception, SystemExit) as error:  # other modules stay usable
            self.broken[name] = (
                f"the {self.kind} plug-in {name!r} ({place}) cannot be imported "
                f"({type(error).__name__}: {error}): repair or uninstall it"
            )
            return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that suggests the most similar known name, ending in a space; "" if none is."""
    lower = {each.lower(): each for each in known}
    similar = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[similar[0]]!r}? " if similar else ""
