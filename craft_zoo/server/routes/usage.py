"""Route of an account's usage."""

from __future__ import annotations

from dataclasses import asdict

from craft_zoo.protocol import paths
from craft_zoo.server.call import Caller
from craft_zoo.server.routes.common import errors, guarded
from craft_zoo.server.schemas import UsageAnswer

router = guarded("usage")


@router.get(paths.USAGE, responses=errors())
async def read_usage(call: Caller) -> UsageAnswer:
    """Usage of the account that was billed, and its quota."""
    quota = call.account.quota
    used = await call.service.in_database(call.service.state.usage, call.account.name)
    remaining = None if quota is None else max(0, quota - used.predictions)
    return UsageAnswer(**asdict(used), quota=quota, remaining=remaining)
