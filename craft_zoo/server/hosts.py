"""Check of the Host header of requests without a key, against DNS rebinding.

In a DNS rebinding attack, a web page's domain resolves to this machine, so that a visitor's browser
reads from the server for that page. The Host header of such a request is the page's domain.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from craft_zoo.protocol import ErrorCode
from craft_zoo.server.errors import Refusal


def check_host(host: str, allowed: Collection[str] = ()) -> None:
    """Check that a host is an IP address, a name without dots (``localhost``, a container's name),
    this machine's own name or an allowed name.

    Args:
        host: value of the Host header, with or without a port.
        allowed: further host names.

    Raises:
        Refusal: the host is missing or another name.
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
