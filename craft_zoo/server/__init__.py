"""The owner's side: a model that others may query and nothing else.

- :func:`create_app`: an ASGI app that serves a model; :class:`ServeSettings`: how;
  :class:`Limits`: what it takes at the most
- :class:`Accounts`, :class:`Account`: who may ask; :func:`new_account`, :func:`add_account`: with
  a new key
- :func:`run`: serve until a signal comes
"""

from craft_zoo.server.accounts import (
    Account,
    Accounts,
    add_account,
    new_account,
)
from craft_zoo.server.app import create_app
from craft_zoo.server.limits import Limits
from craft_zoo.server.settings import Answers, ServeSettings
from craft_zoo.server.uvicorn_server import run

__all__ = [
    "Account",
    "Accounts",
    "Answers",
    "Limits",
    "ServeSettings",
    "add_account",
    "create_app",
    "new_account",
    "run",
]
