"""An app on a port, until a signal comes."""

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from datetime import UTC, datetime
from types import FrameType
from typing import TextIO

import uvicorn
from fastapi import FastAPI
from PIL import Image

from craft_zoo.errors import CraftZooError
from craft_zoo.serve.guard import REQUEST_LOG


class Server(uvicorn.Server):
    """Refuses what is new as soon as it is told to stop; what is under way is answered."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        service = getattr(getattr(self.config.app, "state", None), "service", None)
        if service is not None:
            service.close()
        super().handle_exit(sig, frame)


def server_of(app: FastAPI, host: str, port: int, grace: float) -> Server:
    """The server of an app.

    Args:
        app: see :func:`craft_zoo.serve.create_app`.
        host: address to listen at.
        port: likewise.
        grace: seconds that requests under way have to end when it is stopped.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    return Server(config)


def run(
    app: FastAPI, host: str, port: int, *, grace: float = 60.0, log: TextIO | None = None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: see :func:`craft_zoo.serve.create_app`.
        host: address to listen at.
        port: likewise.
        grace: seconds that requests under way have to end when it is stopped.
        log: gets one line of JSON for each request, and for what goes wrong; by default standard
            error.

    Raises:
        CraftZooError: the server cannot be started.
    """
    _log_to(log or sys.stderr)
    # So large an image is refused in any case; a warning would only stand among the log's lines.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    server = server_of(app, host, port, grace)
    # uvicorn stops at these, and then raises them again for whoever handled them before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # uvicorn's word for a failed start
        raise CraftZooError(
            f"the server cannot start at {host}:{port} (see above): choose another --port"
        ) from None
    if not server.started:
        raise CraftZooError(f"the server did not start at {host}:{port}: see the log above")


class _Lines(logging.Formatter):
    """Records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == REQUEST_LOG:
            return record.getMessage()
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log_to(stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines())
    for name in ("craft_zoo.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
