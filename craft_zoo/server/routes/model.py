"""Route of the model's description."""

from __future__ import annotations

from dataclasses import asdict

from craft_zoo.protocol import paths
from craft_zoo.server.call import Caller
from craft_zoo.server.routes.common import errors, guarded
from craft_zoo.server.schemas import ModelAnswer

router = guarded("model")


@router.get(paths.MODEL, responses=errors())
async def read_model(call: Caller) -> ModelAnswer:
    """Describe the model and the limits on requests."""
    service, settings = call.service, call.service.settings
    return ModelAnswer(
        name=service.name,
        image_size=service.vlm.image_size,
        in_flight=min(service.vlm.in_flight, call.limits.contexts),
        accepts=sorted(service.accepts),
        answers=settings.answers,
        top_k=settings.top_k,
        fingerprint=service.fingerprint,
        limits=asdict(call.limits),
    )
