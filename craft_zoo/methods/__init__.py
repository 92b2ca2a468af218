"""Methods: ways to adapt a black box to a few shots within a budget of queries.

A method takes a :class:`Problem` and yields a :class:`~craft_zoo.craft.Step` each time that it has
something new to deploy; the last one is its result. It never sees the test images.

- ``zero-shot``, ``prompt``, ``refine``, ``craft``, ``anchors``, ``craft-anchors``: see
  :func:`method_names`
- :func:`get_method`, :func:`uses_optimizer`, :func:`register_method`: methods by name
"""

from craft_zoo.methods.anchored import anchors, craft_anchors
from craft_zoo.methods.base import (
    Method,
    Problem,
    get_method,
    method_names,
    register_method,
    uses_optimizer,
)
from craft_zoo.methods.collaborative import craft, prompt, refine
from craft_zoo.methods.zero_shot import zero_shot

__all__ = [
    "Method",
    "Problem",
    "anchors",
    "craft",
    "craft_anchors",
    "get_method",
    "method_names",
    "prompt",
    "refine",
    "register_method",
    "uses_optimizer",
    "zero_shot",
]
