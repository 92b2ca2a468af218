"""The ASGI app: the routes, wrapped in the middleware."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from types import ModuleType

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from craft_zoo.blackbox import VLM
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import ErrorCode, paths
from craft_zoo.server.errors import Refusal, bad, response_to
from craft_zoo.server.middleware import RequestMiddleware
from craft_zoo.server.openai_schemas import (
    DecisionRequest,
    EmbeddingRequest,
    OpenAIErrorAnswer,
)
from craft_zoo.server.routes import adapter as adapter_routes
from craft_zoo.server.routes import (
    classifiers,
    decisions,
    embeddings,
    image_sets,
    model,
    operations,
    scores,
    system_one,
    usage,
    zero_shot,
)
from craft_zoo.server.schemas import (
    Announcement,
    ClassifyRequest,
    ErrorAnswer,
    Opening,
    TaskErrorAnswer,
    TaskRequest,
    Templates,
)
from craft_zoo.server.service import Service
from craft_zoo.server.settings import ServeSettings
from craft_zoo.server.system_one_schemas import SystemOneErrorAnswer, SystemOneRequest


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
        with_model: whether to serve the model's own routes in addition to those of an adapter.

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
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(RequestValidationError, _invalid)
    groups: list[ModuleType] = []
    if adapter is None or with_model:
        groups += [model, image_sets, classifiers, scores, zero_shot, decisions, system_one]
        if settings.embeddings:
            groups.append(embeddings)
    if adapter is not None:
        groups.append(adapter_routes)
    for group in (*groups, usage, operations):
        app.include_router(group.router)
    _describe_models(app)
    return app


# The OpenAPI descriptions of routes refer to these models, as FastAPI does not see them: routes
# parse their bodies themselves, and return no errors.
_MODELS = (
    *(Announcement, ClassifyRequest, Opening, TaskRequest, Templates),
    *(DecisionRequest, EmbeddingRequest, SystemOneRequest),
    *(ErrorAnswer, TaskErrorAnswer, OpenAIErrorAnswer, SystemOneErrorAnswer),
)


def _describe_models(app: FastAPI) -> None:
    schema = app.openapi()  # FastAPI caches this object and returns it from now on
    _, about = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    schema["components"]["schemas"] |= about["$defs"]


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
