"""HTTP requests, with transient failures distinguished from permanent ones."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from craft_zoo.client.retrying import Damaged, Transient, seconds_of
from craft_zoo.errors import CraftZooError
from craft_zoo.printable import sentence

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
_SLACK = 2**20  # bytes allowed beyond the expected size, for error messages and JSON
_SLOWEST = 2e4  # bytes a second; the time-out allows for sending requests at this rate
_TOO_LONG = 2  # attempts after which an overlong or compressed answer is a permanent failure
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_CERTIFICATES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})


@dataclass(frozen=True)
class Answer:
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: headers by lower-case name.
        body: the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed JSON; None if the body is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float:
        """Seconds until the server wants to be asked again, from the Retry-After header."""
        return seconds_of(self.headers.get("retry-after"))


class Http:
    """A pool of connections to one server, which all threads share.

    Args:
        url: base URL of all paths.
        headers: headers of every request.
        timeout: seconds for a whole exchange, from connecting to the last byte of the answer; the
            time to send the request at 20 kB/s is added.
        transport: replaces the network in tests.

    Raises:
        CraftZooError: the URL is invalid, or the environment names a
            proxy or certificates that cannot be used.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        timeout: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(url)
        if not timeout > 0:
            raise CraftZooError(f"the time-out must be more than 0 s, not {timeout:g}")
        self._headers, self._timeout, self._transport = headers, timeout, transport
        self._connect_seconds = min(_CONNECT_SECONDS, timeout)
        self._heard = False  # whether this server has ever answered
        self.reconnect()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        most: int = 0,
    ) -> Answer:
        """Send a request once, without retries.

        Args:
            method: HTTP method.
            path: path and query, relative to the base URL.
            body: body of the request.
            headers: further headers.
            most: expected maximum size of the answer, in bytes; 1 MiB more is tolerated.

        Raises:
            Transient: no complete answer arrived in time, or it is too long or compressed.
            CraftZooError: the server redirects, its certificate cannot be trusted, or the request
                cannot be sent.
        """
        import httpx

        from craft_zoo.client.deadlines import deadline

        if self._process != os.getpid():  # a forked process must not use its parent's connections
            self.reconnect()
        client, began = self._client, time.monotonic()
        allowed, limit = self._timeout + len(body or b"") / _SLOWEST, most + _SLACK
        try:
            with (
                deadline(allowed),
                client.stream(method, self.url + path, content=body, headers=headers) as response,
            ):
                self._heard = True
                encoding = response.headers.get("content-encoding", "identity")
                if encoding.strip().lower() != "identity":
                    said = sentence(encoding, 40)
                    reason = f"its answer is compressed ({said}), against the request"
                    raise Damaged(reason, attempts=_TOO_LONG, billed=True)
                received = bytearray()
                for piece in response.iter_bytes():
                    received += piece
                    if len(received) > limit:
                        reason = f"it sends more than the {limit:,} bytes that were expected"
                        raise Damaged(reason, attempts=_TOO_LONG, billed=True)
        except httpx.TimeoutException as error:
            if time.monotonic() - began >= allowed:
                reason = f"its answer was incomplete after {allowed:.0f} s"
                raise Transient(reason, billed=True) from None
            self._failed(error)
        except httpx.HTTPError as error:
            self._failed(error)
        except (httpx.InvalidURL, UnicodeError) as error:  # the latter for the host name
            raise CraftZooError(f"{self.url} is not a URL ({_reason(error)}): check it") from None
        found = {name.lower(): value for name, value in response.headers.items()}
        if "location" in found and 300 <= response.status_code < 400:
            raise CraftZooError(
                f"{self.url} redirects to {sentence(found['location'])}: use that address"
            )
        return Answer(response.status_code, found, bytes(received))

    def reconnect(self) -> None:
        """Open new connections from now on, because old ones may deliver another request's answer.

        The garbage collector closes the old ones when no request uses them any more.
        """
        self._process, self._client = os.getpid(), self._new_client()

    @contextmanager
    def reconnecting(self) -> Iterator[None]:
        """Reconnect if the context finds an answer to be damaged, see :meth:`reconnect`."""
        try:
            yield
        except Damaged:
            self.reconnect()
            raise

    def _failed(self, error: httpx.HTTPError) -> NoReturn:
        """Raise the error for a connection that was refused, broken or violates the protocol."""
        import httpx

        if isinstance(error, httpx.LocalProtocolError):  # its text quotes headers with keys
            raise CraftZooError(
                f"a request to {self.url} cannot be sent, as HTTP does not allow one of its "
                f"headers: check the key"
            ) from None
        fault = _certificate_fault(error)
        if fault is not None:
            raise CraftZooError(
                f"the certificate of {self.url} cannot be trusted ({fault}): check the address and "
                f"this machine's clock, or name the owner's authority in SSL_CERT_FILE"
            ) from None
        if isinstance(error, httpx.ConnectTimeout):
            reason = f"no connection in {self._connect_seconds:g} s"
        elif isinstance(error, httpx.TimeoutException):
            reason = f"no answer in {self._timeout:g} s"
        else:
            reason = _reason(error)
        slow = httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout  # a connection existed
        unsent = (
            *(httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError),
            *(httpx.PoolTimeout, httpx.WriteTimeout, httpx.WriteError),
        )
        raise Transient(
            reason,
            unheard=not (self._heard or isinstance(error, slow)),
            billed=not isinstance(error, unsent),
        ) from None

    def _new_client(self) -> httpx.Client:
        import httpx

        from craft_zoo.client.deadlines import keep_deadlines

        try:
            client = httpx.Client(
                headers={"Accept-Encoding": "identity", **self._headers},
                timeout=httpx.Timeout(self._timeout, connect=self._connect_seconds),
                # Callers limit concurrency; waiting for a limit here would count as a time-out.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                transport=self._transport,
            )
            keep_deadlines(client)
            return client
        except OSError as error:
            raise CraftZooError(
                f"the CA certificates for checking {self.url} cannot be read "
                f"({_reason(error)}): check {_variables(_CERTIFICATES)}"
            ) from None
        except ImportError:
            raise CraftZooError(
                f"the SOCKS proxy for {self.url} needs the package socksio: "
                f"pip install 'httpx[socks]', or change {_variables(_PROXIES)}"
            ) from None
        except (ValueError, httpx.InvalidURL):  # their texts may contain the proxy's password
            raise CraftZooError(
                f"the address of the proxy for {self.url} is invalid: check {_variables(_PROXIES)}"
            ) from None


def checked_key(key: str | None, variable: str) -> str:
    """Validate an API key and strip whitespace.

    Args:
        key: the key; None: the environment variable, "" if it is not set.
        variable: environment variable of the key, named in the error message.

    Raises:
        CraftZooError: the key is not printable ASCII; the message does not contain the key.
    """
    key = (os.environ.get(variable, "") if key is None else key).strip()
    if not key.isascii() or not key.isprintable():
        raise CraftZooError(f"the API key contains invalid characters: check {variable}")
    return key


def checked_url(url: str) -> str:
    """Validate a server's URL and remove trailing slashes.

    Raises:
        CraftZooError: it is no http(s) URL, or holds credentials, a query or a fragment.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise CraftZooError(
            f"{url} is not the URL of a server: write https://HOST or https://HOST:PORT"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CraftZooError(
            f"the URL of {parts.hostname} must hold no key, query or fragment: it is written "
            f"into adapters; keys belong into the environment"
        )
    return url.rstrip("/")


def message_of(body: Any) -> str:
    """The error message in the JSON of a response, in one line; "" if there is none."""
    about = body if isinstance(body, dict) else {}
    said = about.get("error") or about.get("message") or about.get("detail")
    if isinstance(said, dict):
        said = said.get("message")
    parts = said if isinstance(said, list) else [said]
    return sentence("; ".join(filter(None, map(_part_of, parts))), 300)


def _part_of(message: Any) -> str:
    """One of several messages; FastAPI's say in which field of the request the error is."""
    if isinstance(message, dict) and isinstance(message.get("msg"), str):
        field = message["loc"] if isinstance(message.get("loc"), list) else []
        return ": ".join(filter(None, (".".join(map(str, field)), message["msg"])))
    return message if isinstance(message, str) else ""


def _certificate_fault(error: BaseException | None) -> str | None:
    """Why a certificate was not trusted; None if the error has another cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".") or "it cannot be verified"
        error = error.__cause__ or error.__context__
    return None


def _variables(names: frozenset[str]) -> str:
    """Names of those environment variables that are set, in upper or lower case."""
    found = sorted(name for name in os.environ if name.upper() in names)
    return " and ".join(found) or "the system's settings"


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return sentence(text.splitlines()[0]) if text else type(error).__name__
