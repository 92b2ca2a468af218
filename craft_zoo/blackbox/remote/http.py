"""Requests over HTTP: what comes back, or that it may come back another time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from craft_zoo.blackbox.remote.retrying import Transient, seconds_of
from craft_zoo.errors import CraftZooError

if TYPE_CHECKING:
    import httpx

BUSY = frozenset({429, 502, 503, 504})
_CONNECT_SECONDS = 10.0
_SLACK = 2**20  # bytes that any answer may have: a message, JSON


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        headers: by name, in small letters.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def kind(self) -> str:
        """Its content type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float:
        """Seconds that the server wants to be left alone for."""
        return seconds_of(self.headers.get("retry-after"))


class Http:
    """A pool of connections to one address.

    Args:
        url: what all paths are relative to.
        headers: sent with every request.
        timeout: seconds that an answer may take.
        transport: stands in for the network.

    Raises:
        CraftZooError: the package httpx is missing, or the URL is none.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(url)
        try:
            import httpx  # noqa: F401
        except ImportError:
            raise CraftZooError(
                f"{self.url} needs the package httpx: pip install 'craft-zoo[remote]'"
            ) from None
        if not timeout > 0:
            raise CraftZooError(f"the time-out must be more than 0 s, not {timeout:g}")
        self._headers, self._timeout, self._transport = headers, timeout, transport
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._process = 0

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        most: int = 0,
    ) -> Answer:
        """Ask once.

        Args:
            method: of HTTP.
            path: behind the URL, with the query.
            body: of the request.
            headers: beside those of every request.
            most: bytes of the answer that is expected.

        Raises:
            Transient: no whole answer came in time.
            CraftZooError: the answer is larger than can be, or the address redirects elsewhere.
        """
        import httpx

        ends = time.monotonic() + self._timeout
        try:
            with self._open().stream(
                method, self.url + path, content=body, headers=headers
            ) as response:
                pieces, size = [], 0
                for piece in response.iter_bytes():
                    size += len(piece)
                    if size > most + _SLACK:
                        raise Transient(f"it sends more than the {most:,} bytes that were expected")
                    if time.monotonic() > ends:
                        raise Transient(f"its answer was not whole after {self._timeout:g} s")
                    pieces.append(piece)
        except httpx.TimeoutException:
            raise Transient(f"no answer in {self._timeout:g} s") from None
        except httpx.HTTPError as error:  # connections refused, broken or out of step
            raise Transient(_reason(error)) from None
        except httpx.InvalidURL as error:
            raise CraftZooError(f"{self.url} is no URL ({error}): check it") from None
        found = {name.lower(): value for name, value in response.headers.items()}
        if "location" in found and 300 <= response.status_code < 400:
            raise CraftZooError(
                f"{self.url} redirects to {found['location']}: use the address where it is now"
            )
        return Answer(response.status_code, found, b"".join(pieces))

    def reconnect(self) -> None:
        """Leave the connections that there are: what comes on them may belong to another request.

        Those in use by other threads end with what they are at.
        """
        with self._lock:
            self._client = None

    def _open(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None or self._process != os.getpid():  # no socket survives a fork
                timeout = httpx.Timeout(self._timeout, connect=min(_CONNECT_SECONDS, self._timeout))
                self._process = os.getpid()
                self._client = httpx.Client(
                    headers={"Accept-Encoding": "identity", **self._headers},
                    timeout=timeout,
                    transport=self._transport,
                )
            return self._client


def checked_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        CraftZooError: it is not of a server.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise CraftZooError(f"{url} is no URL of a server: write https://HOST or https://HOST:PORT")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CraftZooError(
            f"the URL of {parts.hostname} must hold no key, query or fragment: it is written "
            f"into adapters; keys belong into the environment"
        )
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
