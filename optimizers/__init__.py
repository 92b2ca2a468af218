"""Gradient-free optimizers, all asked and told the same way; they know arrays and nothing else.

One rule for all: :meth:`Optimizer.ask` for candidates, evaluate them, :meth:`Optimizer.tell` their
losses; :meth:`Optimizer.recommend` says where the search stands. See :class:`Optimizer` for the
loop.

- :func:`create`, :func:`names`, :func:`options`, :func:`register`: optimizers by name
- :class:`CMA`: ``cma``
- :class:`SPSA`: ``spsa``
- :class:`Nevergrad`: ``nevergrad:NAME``
"""

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.cma import CMA
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.nevergrad import Nevergrad
from craft_zoo.optimizers.options import Option
from craft_zoo.optimizers.registry import create, names, options, register
from craft_zoo.optimizers.spsa import SPSA

__all__ = [
    "CMA",
    "SPSA",
    "Nevergrad",
    "Optimizer",
    "OptimizerError",
    "Option",
    "create",
    "names",
    "options",
    "register",
]
