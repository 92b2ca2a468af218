"""The ASGI app: the routes, wrapped in the middleware."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from craft_zoo.blackbox import VLM
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.errors import Refusal, bad, response_to
from craft_zoo.server.middleware import RequestMiddleware
from craft_zoo.server.openai_schemas import OpenAIErrorAnswer
from craft_zoo.server.routes import (
    ADAPTER_ROUTERS,
    COMMON_ROUTERS,
    EMBEDDING_ROUTERS,
    MODEL_ROUTERS,
)
from craft_zoo.server.schemas import ErrorAnswer, TaskErrorAnswer
from craft_zoo.server.service import Service
from craft_zoo.server.settings import ServeSettings
from craft_zoo.server.system_one_schemas import SystemOneErrorAnswer


def create_app(
    vlm: VLM,
    settings: ServeSettings,
    clock: Callable[[], float] = time.monotonic,
    *,
    adapter: DeployedAdapter | None = None,
    with_model: bool = False,
) -> FastAPI:
    """Create the ASGI app that serves a model. The ASGI server must run its lifespan events.

    Run one worker process only: image sets, classifiers and rate limits are kept in its memory.

    Args:
        vlm: the model.
        settings: accounts, form of the answers, and limits.
        clock: monotonic clock in seconds, for rate limits.
        adapter: an adapter of the model that classifies images; None: the model alone is served.
        with_model: whether the model's own routes are there beside those of an adapter.

    Raises:
        CraftZooError: the settings ask for embeddings, and the model has none.
    """
    service = Service(vlm, settings, clock, adapter)
    if settings.embeddings and not service.vlm.has_features:
        raise CraftZooError(
            f"{vlm.name} has no features of images and texts to give: leave embeddings out "
            f"(--embeddings)"
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="craft-zoo",
        summary="A vision-language model that can only be queried.",
        version=metadata.version("craft-zoo"),
        lifespan=lifespan,
        redirect_slashes=False,  # behind a TLS proxy, the redirect would point to plain http
    )
    app.state.service = service
    app.add_middleware(RequestMiddleware, service=service)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _invalid)
    serves_model = adapter is None or with_model
    for router in (
        *(MODEL_ROUTERS if serves_model else ()),
        *(EMBEDDING_ROUTERS if serves_model and settings.embeddings else ()),
        *(() if adapter is None else ADAPTER_ROUTERS),
        *COMMON_ROUTERS,
    ):
        app.include_router(router)
    _describe_errors(app)
    return app


def _describe_errors(app: FastAPI) -> None:
    """Add the error models to the OpenAPI schema: routes reference them, none returns them."""
    schema = app.openapi()  # FastAPI caches this object and returns it from now on
    models = schema["components"]["schemas"]
    for model in (ErrorAnswer, TaskErrorAnswer, OpenAIErrorAnswer, SystemOneErrorAnswer):
        about = model.model_json_schema(ref_template="#/components/schemas/{model}")
        models.update(about.pop("$defs", {}))
        models[model.__name__] = about


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return response_to(error, request.url.path)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        reason = "there is nothing at this path: see /openapi.json"
        if request.url.path == paths.EMBEDDINGS:
            reason = "its owner must allow embeddings here first (--embeddings)"
        refusal = Refusal(ErrorCode.NOT_FOUND, reason)
    else:
        refusal = Refusal(
            ErrorCode.BAD_REQUEST,
            f"{error.detail}: see /openapi.json".replace("\n", " "),
            status=error.status_code,
            headers=error.headers,
        )
    return response_to(refusal, request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = " ".join(str(part) for part in first["loc"])
    return response_to(bad(f"{place}: {first['msg']}: see /openapi.json"), request.url.path)
