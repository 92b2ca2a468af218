"""Models behind a network, asked in a way that loses nothing and pays nothing twice.

- :class:`RemoteVLM`: one that ``craft-zoo serve`` serves; :class:`Served`: what is said of it;
  :class:`RemoteImages`: images that it has; :class:`Usage`: its bill; :class:`Refused`: what it
  says no with
- :class:`Retrying`: how often and how long something is tried; :class:`Transient`: what is
- :class:`Spending`: limits of predictions and cost, beside the query meter
"""

from craft_zoo.blackbox.remote.images import RemoteImages
from craft_zoo.blackbox.remote.retrying import Retrying, Transient
from craft_zoo.blackbox.remote.served import Served
from craft_zoo.blackbox.remote.server import KEY_VARIABLE, Refused
from craft_zoo.blackbox.remote.spending import Spending
from craft_zoo.blackbox.remote.vlm import RemoteVLM, Usage

__all__ = [
    "KEY_VARIABLE",
    "Refused",
    "RemoteImages",
    "RemoteVLM",
    "Retrying",
    "Served",
    "Spending",
    "Transient",
    "Usage",
]
