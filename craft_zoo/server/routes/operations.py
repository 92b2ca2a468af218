"""Routes for operators. They need no key and reveal nothing about the model."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.errors import Refusal
from craft_zoo.server.schemas import Health
from craft_zoo.server.service import Service

router = APIRouter(tags=["operations"])


@router.get(paths.HEALTH)
async def read_health() -> Health:
    """Report that the process is alive."""
    return Health(status="ok")


@router.get(paths.READY, response_model=Health, responses={503: {"model": Health}})
async def read_readiness(request: Request) -> Response:
    """Report whether requests are accepted."""
    service: Service = request.app.state.service
    if service.is_ready and not service.is_closing:
        return JSONResponse({"status": "ready"})
    status = "stopping" if service.is_closing else "starting"
    return JSONResponse({"status": status}, 503, {"Retry-After": "1"})


@router.get(paths.METRICS, response_class=PlainTextResponse)
async def read_metrics(request: Request) -> Response:
    """Prometheus metrics, only under host names that are safe from DNS rebinding."""
    service: Service = request.app.state.service
    check_host(request.headers.get("host", ""), service.settings.metrics_hosts)
    text, kind = service.metrics.text()
    return Response(text, headers={"Content-Type": kind})


def check_host(host: str, allowed: Collection[str] = ()) -> None:
    """Check that a Host header is an IP address, a name without dots (``localhost``, a container's
    name), this machine's own name or an allowed name, with or without a port.

    In a DNS rebinding attack, a web page's domain resolves to this machine, so that a visitor's
    browser reads from the server for that page. The Host header is then the page's domain.

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
