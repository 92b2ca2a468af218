"""The routers of the HTTP API."""

from craft_zoo.server.routes import (
    classifiers,
    image_sets,
    model,
    operations,
    scores,
    zero_shot,
)

ROUTERS = (
    model.router,
    image_sets.router,
    classifiers.router,
    scores.router,
    zero_shot.router,
    operations.router,
)

__all__ = ["ROUTERS"]
