"""Gives each optimizer its own copy of numpy's global random generator, thread-safely."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random import mtrand  # the module that defines the global generator

_lock = threading.RLock()  # held while the generator is swapped
_borrower: int | None = None  # identity of the thread for which it is swapped
_lent = np.random.RandomState(0)  # the generator in use in that thread


class GlobalGenerator:
    """An optimizer's private copy of numpy's global generator.

    Args:
        seed: initial state, as after ``np.random.seed(seed)``.
    """

    def __init__(self, seed: int) -> None:
        self._own = np.random.RandomState(seed % 2**32)

    @contextmanager
    def swapped_in(self, *, keep: bool = True) -> Iterator[None]:
        """Context manager that replaces the global generator by this optimizer's copy.

        It does so for the calling thread and for the threads in which nevergrad runs scipy's
        algorithms. Other threads still draw from the global generator; they block only if they
        enter this context or seed the generator. Functions such as ``np.random.rand`` that a
        library bound to its own names earlier are not replaced; nevergrad has none.

        Args:
            keep: whether to keep the state of the copy after the draws inside.
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
    """Whether the current thread uses the copy."""
    if threading.get_ident() == _borrower:
        return True
    return type(threading.current_thread()).__module__.startswith("nevergrad.")


class _Dispatching(np.random.RandomState):
    """Replaces numpy's global generator while a copy is in use; dispatches by thread."""


def _dispatching(name: str, original: Any) -> Callable[..., Any]:
    def draw(*arguments: Any, **keywords: Any) -> Any:
        function = getattr(_lent, name) if _borrows() else original
        return function(*arguments, **keywords)

    return draw


def _waiting(name: str) -> Callable[..., Any]:
    """Wraps a function that changes the global generator: other threads wait for the lock."""
    original = getattr(mtrand, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        if _borrows():
            return getattr(_lent, name, original)(*arguments, **keywords)
        with _lock:
            return original(*arguments, **keywords)

    return call


_Replacement = tuple[Any, str, Any]  # module, name in it, new value


def _replacements() -> tuple[list[_Replacement], list[_Replacement]]:
    """numpy's functions that use the global generator, and their dispatching replacements."""
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
