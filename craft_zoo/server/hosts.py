"""Which host a request without a key may name.

A web page of a stranger can have its own domain resolve to this machine (DNS rebinding); a
visitor's browser would then read for it what needs no key. Such a request names that domain.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal


def check_host(host: str, allowed: Collection[str] = ()) -> None:
    """Make sure that the host of a request is an IP address, a name without dots (``localhost``, a
    container's), this machine's own name or one that is allowed.

    Args:
        host: as in the header, with a port or without.
        allowed: names.

    Raises:
        Refusal: it is another name, or none.
    """
    name = ""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        ipaddress.ip_address(name)
    except ValueError:
        own = {each.lower().rstrip(".") for each in (socket.gethostname(), *allowed)}
        if not name or ("." in name and name not in own):
            raise Refusal(
                ErrorCode.BAD_REQUEST,
                "metrics are not shown under this host name: ask by the server's IP address, or "
                "have its owner allow the name in metrics_hosts (--metrics-host)",
                status=403,
            ) from None
