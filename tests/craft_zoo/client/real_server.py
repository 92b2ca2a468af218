"""``craft-zoo serve`` in a thread, which can be restarted at any moment."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

from craft_zoo.blackbox import VLM
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.server import (
    Accounts,
    Limits,
    ServeSettings,
    create_app,
    new_account,
)
from craft_zoo.server.uvicorn_server import Server


class RealServer:
    """Serves a model to one account.

    Args:
        vlm: the model.
        state: folder of the bill.
        quota: quota of the account.
        embeddings: whether it serves embeddings.
        settings: further settings.
        adapter: an adapter to be served in place of the model.
        limits: limits of requests.
    """

    def __init__(
        self,
        vlm: VLM,
        state: Path,
        *,
        quota: int | None = None,
        embeddings: bool = False,
        settings: dict[str, Any] | None = None,
        adapter: DeployedAdapter | None = None,
        **limits: int,
    ) -> None:
        account, self.key = new_account("someone", quota)
        self._settings = ServeSettings(
            Accounts([account]),
            state=state,
            limits=Limits(requests_per_second=1e6, burst=10**6, **limits),  # tests do not wait
            **{"embeddings": embeddings, **(settings or {})},
        )
        self._vlm, self._adapter = vlm, adapter
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> RealServer:
        self._server: Server = Server(
            create_app(self._vlm, self._settings, adapter=self._adapter),
            "127.0.0.1",
            self.port,
            1.0,
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server has not started"
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    def restart(self) -> None:
        """Stop the server, even with requests in progress, and start it with the same bill."""
        self.__exit__()
        self.__enter__()
