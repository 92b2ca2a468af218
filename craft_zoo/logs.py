"""Suppresses or collects log messages and warnings of other libraries."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Disable logging, to suppress open_clip's warning about intentionally random weights."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect warnings in order of occurrence, instead of showing them.

    These are Python warnings, and log records of level WARNING or above that reach the root logger,
    to which open_clip logs.
    """
    messages: list[str] = []
    before = logging.root.handlers[:]
    logging.root.handlers[:] = [_Collector(messages)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # Of a file or socket of the caller's that is collected meanwhile.
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.showwarning = lambda message, *_args, **_named: messages.append(str(message))
            yield messages
    finally:
        logging.root.handlers[:] = before
