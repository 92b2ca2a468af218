"""Gives each optimizer its own copy of numpy's global random generator, thread-safely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.random import mtrand  # the module that defines the global generator

_lock = threading.RLock()  # held while the generator is swapped
_borrower: int | None = None  # identity of the thread for which it is swapped
_lent = np.random.RandomState(0)  # the generator in use in that thread
_seeds_itself = False  # whether a library is about to seed the copy by entropy or the clock


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
                wait_for_threads()
                if outer[0] is None:
                    _put(_ORIGINALS)
                _borrower, _lent = outer
                if before is not None:
                    self._own.set_state(before)


def wait_for_threads() -> None:
    """Wait until all threads of nevergrad's wait for a loss: told one, they draw numbers."""
    for thread in threading.enumerate():
        while _is_of_nevergrad(thread) and thread.is_alive() and not _waits_for_loss(thread):
            time.sleep(0)


def _waits_for_loss(thread: Any) -> bool:
    # It has asked more often than it was told; it never marks a loss as done.
    return bool(thread.call_count > thread.messages_tell.unfinished_tasks)


def _is_of_nevergrad(thread: threading.Thread) -> bool:
    return type(thread).__module__.startswith("nevergrad.")


def _borrows() -> bool:
    """Whether the current thread uses the copy."""
    return threading.get_ident() == _borrower or _is_of_nevergrad(threading.current_thread())


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
            if name == "seed" and _is_by_chance(*arguments, **keywords):
                return None
            return getattr(_lent, name, original)(*arguments, **keywords)
        with _lock:
            return original(*arguments, **keywords)

    return call


def _is_by_chance(seed: Any = None) -> bool:
    """Whether a library seeds the copy by entropy: ``seed()``, then pycma by the clock, too."""
    global _seeds_itself
    by_chance = seed is None or _seeds_itself
    _seeds_itself = seed is None
    return by_chance


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
