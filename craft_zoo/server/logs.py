"""Logging as JSON lines."""

from __future__ import annotations

import json
import logging
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
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(stream: TextIO) -> None:
    """Write the log of the server, of uvicorn, asyncio and warnings to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name, level in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.captureWarnings(True)
