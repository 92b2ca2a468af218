"""Models behind a network or a Python function, queried with retries and idempotency keys.

- :class:`RemoteVLM`: a model served by ``craft-zoo serve``; :class:`ServerInfo`: its description;
  :class:`RemoteImages`: images uploaded to it; :class:`AccountUsage`: usage of the account;
  :class:`Refused`: an error response of the server
- :class:`HuggingFaceVLM`: a model behind Hugging Face's task API
- :func:`from_callable`: a model from a Python function
- :class:`Retrying`: retry policy of requests; :class:`Transient`: an error after which a request is
  retried
"""

from craft_zoo.client.callables import from_callable
from craft_zoo.client.hugging_face import HuggingFaceVLM
from craft_zoo.client.remote_images import RemoteImages
from craft_zoo.client.remote_server import Refused, ServerInfo
from craft_zoo.client.remote_vlm import AccountUsage, RemoteVLM
from craft_zoo.client.retrying import Retrying, Transient

__all__ = [
    "AccountUsage",
    "HuggingFaceVLM",
    "Refused",
    "RemoteImages",
    "RemoteVLM",
    "Retrying",
    "ServerInfo",
    "Transient",
    "from_callable",
]
