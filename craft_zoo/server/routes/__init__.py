"""The routers of the HTTP API."""

from craft_zoo.server.routes import (
    adapter,
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

MODEL_ROUTERS = (
    model.router,
    image_sets.router,
    classifiers.router,
    scores.router,
    zero_shot.router,
    decisions.router,
    system_one.router,
)
EMBEDDING_ROUTERS = (embeddings.router,)
ADAPTER_ROUTERS = (adapter.router,)
COMMON_ROUTERS = (usage.router, operations.router)

__all__ = ["ADAPTER_ROUTERS", "COMMON_ROUTERS", "EMBEDDING_ROUTERS", "MODEL_ROUTERS"]
