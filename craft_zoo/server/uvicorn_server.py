"""The uvicorn server that runs the app until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys
import warnings
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from PIL import Image

from craft_zoo.errors import CraftZooError
from craft_zoo.server.billing import State
from craft_zoo.server.connection import connections_with
from craft_zoo.server.logs import log_to
from craft_zoo.server.service import Service

Listening = Callable[[str], None]
"""Called with the server's URL once it listens."""

# It exceeds the time of proxies (nginx 60, Caddy 120), which could otherwise send a
# request into a connection that is being closed.
_KEEP_ALIVE_SECONDS = 150
_BACKLOG = 128  # connections that wait to be accepted


class Server(uvicorn.Server):
    """uvicorn server of an app, which refuses new requests once it is signalled to stop.

    Args:
        app: see :func:`craft_zoo.server.create_app`.
        port: port to listen on; 0: a free one.
        grace: seconds in which requests in progress may finish when the server is stopped.
        listening: see :data:`Listening`.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        grace: float,
        listening: Listening = lambda _: None,
    ) -> None:
        self._service: Service = app.state.service
        self._listening = listening
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            # Explicitly h11, which limits the size of request headers; httptools does not.
            http=connections_with(self._service.settings.limits),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(grace)),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            host, port = self.config.host, self.servers[0].sockets[0].getsockname()[1]
            self._listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        self._service.close()
        super().handle_exit(sig, frame)


def run(
    app: FastAPI,
    host: str,
    port: int,
    *,
    grace: float = 60.0,
    listening: Listening = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM, and log to standard error; see :class:`Server`.

    Raises:
        CraftZooError: the server cannot be started.
    """
    settings = app.state.service.settings
    State(settings.state, settings.limits.stored_bytes).close()  # uvicorn would print a traceback
    log_to(sys.stderr)
    # Images that large are refused in any case; as a warning, they would only clutter the log.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    server = Server(app, host, port, grace, listening)
    # uvicorn handles these signals and then raises them again for the previous handlers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # uvicorn exits if the start fails
        raise CraftZooError(
            f"the server cannot start at {host}:{port} (see above): choose another port (--port)"
        ) from None
    if not server.started:
        raise CraftZooError(f"the server did not start at {host}:{port}: see the log above")
