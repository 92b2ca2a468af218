"""For libraries that draw from numpy's global generator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random import mtrand  # where numpy.random has its global generator from

_lock = threading.RLock()  # one borrower at a time
_borrower: int | None = None  # identity of the thread that borrows
_lent = np.random.RandomState(0)  # what is drawn from in that thread


class GlobalGenerator:
    """numpy's global generator as one optimizer alone would have it.

    Args:
        seed: where it starts, as after ``np.random.seed(seed)``.
    """

    def __init__(self, seed: int) -> None:
        self._own = np.random.RandomState(seed % 2**32)

    @contextmanager
    def swapped_in(self, *, keep: bool = True) -> Iterator[None]:
        """Inside, the global generator is this optimizer's; outside, as if nothing had been.

        That is so in the thread that enters, and in those in which nevergrad lets algorithms of
        scipy work for it. Other threads draw from the global generator as ever; they wait only
        where they want to enter too, or to seed it. A function of numpy that a library has bound
        to a name of its own beforehand is the global generator's; nevergrad has none.

        Args:
            keep: whether what is drawn inside counts.
        """
        global _borrower, _lent
        with _lock:
            before = None if keep else self._own.get_state()
            outer = _borrower, _lent
            _borrower, _lent = threading.get_ident(), self._own
            if outer[0] is None:
                _put(_DISPATCHING)
            try:
                yield
            finally:
                if outer[0] is None:
                    _put(_ORIGINALS)
                _borrower, _lent = outer
                if before is not None:
                    self._own.set_state(before)


def _borrows() -> bool:
    """Whether this thread is to draw from what is lent."""
    if threading.get_ident() == _borrower:
        return True
    return type(threading.current_thread()).__module__.startswith("nevergrad.")


class _Dispatching(np.random.RandomState):
    """Stands for numpy's global generator while one is lent: each thread draws from its own."""


def _dispatching(name: str, original: Any) -> Callable[..., Any]:
    def draw(*arguments: Any, **keywords: Any) -> Any:
        function = getattr(_lent, name) if _borrows() else original
        return function(*arguments, **keywords)

    return draw


def _waiting(name: str) -> Callable[..., Any]:
    """For what looks for numpy's global generator itself: other threads wait until it is back."""
    original = getattr(mtrand, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        if _borrows():
            return getattr(_lent, name, original)(*arguments, **keywords)
        with _lock:
            return original(*arguments, **keywords)

    return call


_Replacement = tuple[Any, str, Any]  # a module, a name in it, and what that shall be


def _replacements() -> tuple[list[_Replacement], list[_Replacement]]:
    """numpy's functions that draw from the global generator, and what stands for them inside."""
    real = mtrand._rand
    made: dict[str, Any] = {}
    for name in dir(np.random.RandomState):
        original = getattr(real, name)
        if not name.startswith("_") and callable(original):
            made[name] = _dispatching(name, original)
    made["seed"] = _waiting("seed")
    for name, function in made.items():
        setattr(_Dispatching, name, staticmethod(function))
    made |= {"ranf": made["random_sample"], "sample": made["random_sample"]}
    for name in ("get_bit_generator", "set_bit_generator"):
        made[name] = _waiting(name)
    originals, dispatching = [], []
    for module in (np.random, mtrand):
        for name in made:
            if hasattr(module, name):
                originals.append((module, name, getattr(module, name)))
                dispatching.append((module, name, made[name]))
    return (
        [*originals, (mtrand, "_rand", real)],
        [*dispatching, (mtrand, "_rand", _Dispatching(0))],
    )


_ORIGINALS, _DISPATCHING = _replacements()


def _put(replacements: list[_Replacement]) -> None:
    for module, name, value in replacements:
        setattr(module, name, value)
