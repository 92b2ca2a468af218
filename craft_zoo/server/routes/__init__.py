"""The routers of the HTTP API."""

from craft_zoo.server.routes import (
    adapter,
    classifiers,
    image_sets,
    model,
    operations,
    scores,
    usage,
    zero_shot,
)

MODEL_ROUTERS = (
    model.router,
    image_sets.router,
    classifiers.router,
    scores.router,
    zero_shot.router,
)
ADAPTER_ROUTERS = (adapter.router,)
COMMON_ROUTERS = (usage.router, operations.router)

__all__ = ["ADAPTER_ROUTERS", "COMMON_ROUTERS", "MODEL_ROUTERS"]
