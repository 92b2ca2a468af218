"""Other libraries' log messages and warnings."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing, where a model is made without weights on purpose, of which open_clip warns."""
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
    """Collect what libraries warn of, in the order said, for the caller to pass on or decide.

    Both kinds are collected: warnings, and records from level WARNING on that reach the root
    logger, where open_clip writes to. Nothing of it is shown meanwhile.
    """
    messages: list[str] = []
    before = logging.root.handlers[:]
    logging.root.handlers[:] = [_Collector(messages)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_args, **_named: messages.append(str(message))
            yield messages
    finally:
        logging.root.handlers[:] = before
