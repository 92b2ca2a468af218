"""HTTP server that lets clients query a model without access to its weights or features.

- :func:`create_app`: ASGI app that serves a model, configured by :class:`ServeSettings` and
  :class:`Limits`
- :class:`Accounts`, :class:`Account`: clients and their key hashes; :func:`new_account`,
  :func:`add_account`: create an account with a new API key
- :func:`run`: serve until SIGINT or SIGTERM
"""

from craft_zoo.server.accounts import Account, Accounts, add_account, new_account
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
