"""uvicorn, set up to serve an app until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TextIO

import uvicorn
from fastapi import FastAPI
from PIL import Image

from craft_zoo.errors import CraftZooError
from craft_zoo.server.connection import connections_with
from craft_zoo.server.logs import log_to

Listening = Callable[[str], None]
"""Called with the address once the server listens."""

# Of an idle connection: longer than proxies keep theirs (nginx 60, Caddy 120), which would
# otherwise send a request into one that is being closed.
_REST_SECONDS = 150
_BACKLOG = 128  # connections that wait to be taken
_OTHER_FILES = 100


class Server(uvicorn.Server):
    """Refuses new requests as soon as it is told to stop; those under way are answered.

    Args:
        config: see uvicorn.
        listening: see :data:`Listening`.
    """

    def __init__(self, config: uvicorn.Config, listening: Listening = lambda _: None) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            host, port = self.config.host, self.servers[0].sockets[0].getsockname()[1]
            self._listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        service = getattr(getattr(self.config.app, "state", None), "service", None)
        if service is not None:
            service.close()
        super().handle_exit(sig, frame)


def server_of(
    app: FastAPI, host: str, port: int, grace: float, listening: Listening = lambda _: None
) -> Server:
    """The server of an app.

    Args:
        app: see :func:`craft_zoo.server.create_app`.
        host: address to listen at.
        port: likewise; 0: one that is free.
        grace: seconds that requests under way have to end when it is stopped.
        listening: see :data:`Listening`.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        # Not whatever is installed: h11 bounds the head of a request, httptools does not.
        http=connections_with(app.state.service.settings.limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_REST_SECONDS,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    return Server(config, listening)


def run(
    app: FastAPI,
    host: str,
    port: int,
    *,
    grace: float = 60.0,
    log: TextIO | None = None,
    listening: Listening = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        app: see :func:`craft_zoo.server.create_app`.
        host: address to listen at.
        port: likewise; 0: one that is free.
        grace: seconds that requests under way have to end when it is stopped.
        log: gets one line of JSON for each request, and for what goes wrong; by default standard
            error.
        listening: see :data:`Listening`.

    Raises:
        CraftZooError: the server cannot be started.
    """
    log_to(log or sys.stderr)
    _allow_files(app.state.service.settings.limits.connections + _OTHER_FILES)
    # So large an image is refused in any case; a warning would only stand among the log's lines.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    server = server_of(app, host, port, grace, listening)
    # uvicorn stops at these, and then raises them again for whoever handled them before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # uvicorn's word for a failed start
        raise CraftZooError(
            f"the server cannot start at {host}:{port} (see above): choose another port (--port)"
        ) from None
    if not server.started:
        raise CraftZooError(f"the server did not start at {host}:{port}: see the log above")


def _allow_files(most: int) -> None:
    """Let the process open so many files at once, as far as that is its own to decide."""
    try:
        import resource
    except ImportError:  # there is no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
