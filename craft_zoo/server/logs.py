"""Logging as JSON lines, with a limit on repeated records."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from craft_zoo.server.middleware import REQUEST_LOG

# asyncio logs every connection that fails to be accepted, py.warnings the warnings of libraries.
_LOGGERS = {
    "craft_zoo.server": logging.INFO,
    "uvicorn": logging.INFO,
    "asyncio": logging.WARNING,
    "py.warnings": logging.WARNING,
}
_MOST = 5  # records of one kind in each period
_SECONDS = 60.0
_KINDS = 1000


class JsonLines(logging.Formatter):
    """Formats records as JSON lines."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        if record.name == REQUEST_LOG:
            return record.getMessage()
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage().strip(),
        }
        if left_out := getattr(record, "left_out", 0):
            line["left_out"] = left_out
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


@dataclass
class _KindCount:
    since: float = float("-inf")
    count: int = 0
    left_out: int = 0


class RepeatLimit(logging.Filter):
    """Limits records of one kind to a few a minute. The next record counts those left out.

    Request log records always pass.

    Args:
        clock: monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[tuple[str, str, str], _KindCount] = defaultdict(_KindCount)

    def filter(self, record: logging.LogRecord) -> bool:
        """See :meth:`logging.Filter.filter`."""
        if record.name == REQUEST_LOG:
            return True
        if len(self._counts) > _KINDS:
            self._counts.clear()
        error = type(record.exc_info[1]).__name__ if record.exc_info else ""
        what = str(record.msg).partition("\n")[0][:200]  # asyncio appends the connection's details
        kind, now = self._counts[record.name, what, error], self._clock()
        if now >= kind.since + _SECONDS:
            kind.since, kind.count = now, 0
        if kind.count == _MOST:
            kind.left_out += 1
            return False
        kind.count += 1
        record.left_out, kind.left_out = kind.left_out, 0
        return True


def log_to(stream: TextIO) -> None:
    """Write the log of the server, of uvicorn, asyncio and warnings to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(RepeatLimit())
    for name, level in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.captureWarnings(True)
