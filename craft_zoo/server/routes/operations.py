"""Routes for operators. They need no key and reveal nothing about the model."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from craft_zoo.protocol import paths
from craft_zoo.server.hosts import check_host
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
