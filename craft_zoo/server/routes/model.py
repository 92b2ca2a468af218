"""Route of the model's description."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import Request

from craft_zoo.protocol import paths
from craft_zoo.server.routes.common import (
    account_of,
    errors,
    guarded,
    service_of,
)
from craft_zoo.server.schemas import ModelAnswer

router = guarded("model")


@router.get(paths.MODEL, responses=errors())
async def read_model(request: Request) -> ModelAnswer:
    """Describe the model and the limits on requests."""
    account_of(request)
    service = service_of(request)
    settings = service.settings
    return ModelAnswer(
        name=service.name,
        image_size=service.vlm.image_size,
        in_flight=min(service.vlm.in_flight, settings.limits.contexts),
        accepts=sorted(service.model.accepts),
        answers=settings.answers,
        top_k=settings.top_k,
        limits=asdict(settings.limits),
    )
