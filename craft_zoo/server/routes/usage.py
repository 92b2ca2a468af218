"""Route of an account's usage."""

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
from craft_zoo.server.schemas import UsageAnswer

router = guarded("usage")


@router.get(paths.USAGE, responses=errors())
async def read_usage(request: Request) -> UsageAnswer:
    """Usage of the account that was billed, and its quota."""
    account = account_of(request)
    service = service_of(request)
    used = await service.file(service.state.usage, account.name)
    remaining = None if account.quota is None else max(0, account.quota - used.predictions)
    return UsageAnswer(**asdict(used), quota=account.quota, remaining=remaining)
