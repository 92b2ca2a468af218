"""HTTP requests, with transient failures distinguished from permanent ones."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
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
_SLOW = frozenset({"ReadTimeout", "WriteTimeout", "PoolTimeout"})  # a connection existed
_UNSENT = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "ProxyError"),
        *("PoolTimeout", "WriteTimeout", "WriteError"),
    }
)
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
        except httpx.HTTPError as error:
            late = round(allowed) if time.monotonic() - began >= allowed else None
            raise connection_failure(
                self.url, error, self._timeout, late=late, heard=self._heard
            ) from None
        except (httpx.InvalidURL, UnicodeError) as error:  # the latter for the host name
            raise CraftZooError(f"{self.url} is not a URL ({_reason(error)}): check it") from None
        found = {name.lower(): value for name, value in response.headers.items()}
        redirected = redirection(self.url, path, response.status_code, found)
        if redirected is not None:
            raise redirected
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

    def _new_client(self) -> httpx.Client:
        import httpx

        from craft_zoo.client.deadlines import keep_deadlines

        with reading_environment(self.url):
            client = httpx.Client(
                headers={"Accept-Encoding": "identity", **self._headers},
                timeout=timeouts(self._timeout),
                # Callers limit concurrency; waiting for a limit here would count as a time-out.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                transport=self._transport,
            )
            keep_deadlines(client)
            return client


def timeouts(seconds: float) -> httpx.Timeout:
    """The time-outs of each wait, of which that for a connection is no longer than 10 s."""
    import httpx

    return httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds))


@contextmanager
def reading_environment(url: str) -> Iterator[None]:
    """Explain why an httpx client cannot be made in the context.

    Args:
        url: the server, for messages.

    Raises:
        CraftZooError: the environment names a proxy or certificates that cannot be used.
    """
    try:
        yield
    except OSError as error:
        raise CraftZooError(
            f"the CA certificates for checking {url} cannot be read "
            f"({_reason(error)}): check {_variables(_CERTIFICATES)}"
        ) from None
    except ImportError:
        raise CraftZooError(
            f"the SOCKS proxy for {url} needs the package socksio: "
            f"pip install 'httpx[socks]', or change {_variables(_PROXIES)}"
        ) from None
    except Exception as error:
        if not isinstance(error, ValueError) and "InvalidURL" not in _kinds(error):
            raise
        # Its text may contain the proxy's password.
        raise CraftZooError(
            f"the address of the proxy for {url} is invalid: check {_variables(_PROXIES)}"
        ) from None


def redirection(
    url: str, path: str, status: int, headers: Mapping[str, str]
) -> CraftZooError | None:
    """The error for a response that is a redirection; None: it is none.

    It is not followed, as images and keys are for the address that was named alone, and as POST
    would become GET.

    Args:
        url: base URL.
        path: of the request, relative to it.
        status: HTTP status of the response.
        headers: its headers, by lower-case name.
    """
    location = headers.get("location")
    if location is None or not 300 <= status < 400:
        return None
    base = location.removesuffix("/").removesuffix(path.partition("?")[0])
    return CraftZooError(f"{url} redirects to {sentence(base)}: use that address")


def connection_failure(
    url: str, error: Exception, timeout: float, *, late: float | None, heard: bool
) -> Transient | CraftZooError:
    """The exception for a connection that was refused, broken or violates the protocol.

    Args:
        url: the server.
        error: raised by httpx, or by httpx2, OpenAI's client's successor of it with the same names.
        timeout: see :func:`timeouts`.
        late: seconds that the whole exchange was allowed, if they are over.
        heard: whether the server has ever answered.
    """
    kinds = _kinds(error)
    if late is not None and "TimeoutException" in kinds:
        return Transient(f"its answer was incomplete after {late:g} s", billed=True)
    if "LocalProtocolError" in kinds:  # its text quotes headers with keys
        return CraftZooError(
            f"a request to {url} cannot be sent, as HTTP does not allow one of its headers: check "
            f"the key"
        )
    fault = _certificate_fault(error)
    if fault is not None:
        return CraftZooError(
            f"the certificate of {url} cannot be trusted ({fault}): check the address and this "
            f"machine's clock, or name the owner's authority in SSL_CERT_FILE"
        )
    if "ConnectTimeout" in kinds:
        reason = f"no connection in {timeouts(timeout).connect:g} s"
    elif "TimeoutException" in kinds:
        reason = f"no answer in {timeout:g} s"
    else:
        reason = _reason(error)
    return Transient(
        reason,
        attempts=_TOO_LONG if "DecodingError" in kinds else None,
        unheard=not heard and kinds.isdisjoint(_SLOW | {"DecodingError"}),
        billed=kinds.isdisjoint(_UNSENT),
    )


def _kinds(error: Exception) -> set[str]:
    """Names of an exception's class and of those that it is derived from."""
    return {kind.__name__ for kind in type(error).__mro__}


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
