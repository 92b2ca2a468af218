"""Models behind a network or a function, asked so that no answer is lost or paid for twice.

- :class:`RemoteVLM`: a model that ``craft-zoo serve`` serves; :class:`ServerInfo`: its description;
  :class:`RemoteImages`: images that were uploaded to it; :class:`Usage`: its bill;
  :class:`Refused`: an error that it answers with
- :class:`HuggingFaceVLM`: a model behind Hugging Face's task API
- :func:`from_callable`: any function of your own
- :class:`Retrying`: how often and how long a request is tried; :class:`Transient`: an error that is
  worth another try
"""

from craft_zoo.client.callables import from_callable
from craft_zoo.client.hugging_face import HuggingFaceVLM
from craft_zoo.client.images import RemoteImages
from craft_zoo.client.retrying import Retrying, Transient
from craft_zoo.client.server import KEY_VARIABLE, Refused
from craft_zoo.client.server_info import ServerInfo
from craft_zoo.client.vlm import RemoteVLM, Usage

__all__ = [
    "KEY_VARIABLE",
    "HuggingFaceVLM",
    "Refused",
    "RemoteImages",
    "RemoteVLM",
    "Retrying",
    "ServerInfo",
    "Transient",
    "Usage",
    "from_callable",
]
