"""Gradient-free optimizers of numpy arrays with a common ask/tell interface.

:meth:`Optimizer.ask` returns candidates, :meth:`Optimizer.tell` takes their losses. The loop ends
when :attr:`Optimizer.stop` gives a reason; :meth:`Optimizer.recommend` returns the best point. See
:class:`Optimizer` for an example.

- :func:`minimize`, :func:`maximize`: a whole search in one call, which returns a :class:`Result`
- :class:`Real`, :class:`Integer`, :class:`Choice`: the variables of ``minimize(..., space=)``
- :class:`Space`: a search space
- :func:`create`, :func:`names`, :func:`options`, :func:`register`: optimizers by name;
  :func:`searches`, :func:`uses_blocks`: capabilities of an optimizer
- :func:`restore`: continue a search from its :meth:`Optimizer.state`
- :class:`Auto`: ``auto``, which chooses one of the others
- :class:`CMA`, :class:`SepCMA`, :class:`VkdCMA`: ``cma``, ``sep-cma``, ``vkd-cma`` (pycma)
- :class:`NelderMead`, :class:`Powell`, :class:`COBYQA`, :class:`LBFGS`: ``nelder-mead``,
  ``powell``, ``cobyqa``, ``l-bfgs`` (scipy)
- :class:`SPSA`, :class:`SPSAGC`, :class:`SPSAClip`, :class:`ZOAdam`: ``spsa``, ``spsa-gc``,
  ``spsa-clip``, ``zo-adam`` (estimated gradients)
- :class:`LMMAES`, :class:`SNES`, :class:`RandomSearch`: ``lm-ma-es``, ``snes``, ``random``
- :class:`OnePlusOne`: ``one-plus-one``, for variables of which some are rounded
- :class:`LogitGN`: ``logit-gn``, which learns from outputs (logits)
- :class:`Nevergrad`: ``nevergrad:NAME``, for real or categorical variables
- :class:`Genetic`, :class:`HillClimb`: ``genetic``, ``hill-climb``, for categorical variables;
  :class:`ChoiceSearch`: their base class; :class:`Columns`: ``columns``, for categorical
  variables, which learns from outputs
- :mod:`craft_zoo.optimizers.testing`: conformance tests for optimizers
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from craft_zoo.optimizers.auto import Auto as Auto
    from craft_zoo.optimizers.base import Best as Best
    from craft_zoo.optimizers.base import Optimizer as Optimizer
    from craft_zoo.optimizers.base import OutputLoss as OutputLoss
    from craft_zoo.optimizers.base import Outputs as Outputs
    from craft_zoo.optimizers.checkpoint import restore as restore
    from craft_zoo.optimizers.choices import ChoiceSearch as ChoiceSearch
    from craft_zoo.optimizers.cma import CMA as CMA
    from craft_zoo.optimizers.cobyqa import COBYQA as COBYQA
    from craft_zoo.optimizers.columns import Columns as Columns
    from craft_zoo.optimizers.errors import OptimizerError as OptimizerError
    from craft_zoo.optimizers.genetic import Genetic as Genetic
    from craft_zoo.optimizers.hill_climb import HillClimb as HillClimb
    from craft_zoo.optimizers.l_bfgs import LBFGS as LBFGS
    from craft_zoo.optimizers.lm_ma_es import LMMAES as LMMAES
    from craft_zoo.optimizers.logit_gn import LogitGN as LogitGN
    from craft_zoo.optimizers.minimization import maximize as maximize
    from craft_zoo.optimizers.minimization import minimize as minimize
    from craft_zoo.optimizers.nelder_mead import NelderMead as NelderMead
    from craft_zoo.optimizers.nevergrad import Nevergrad as Nevergrad
    from craft_zoo.optimizers.one_plus_one import OnePlusOne as OnePlusOne
    from craft_zoo.optimizers.option import Option as Option
    from craft_zoo.optimizers.powell import Powell as Powell
    from craft_zoo.optimizers.random_search import RandomSearch as RandomSearch
    from craft_zoo.optimizers.registry import create as create
    from craft_zoo.optimizers.registry import names as names
    from craft_zoo.optimizers.registry import options as options
    from craft_zoo.optimizers.registry import parse_spec as parse_spec
    from craft_zoo.optimizers.registry import register as register
    from craft_zoo.optimizers.registry import searches as searches
    from craft_zoo.optimizers.registry import uses_blocks as uses_blocks
    from craft_zoo.optimizers.result import Result as Result
    from craft_zoo.optimizers.sep_cma import SepCMA as SepCMA
    from craft_zoo.optimizers.snes import SNES as SNES
    from craft_zoo.optimizers.space import Space as Space
    from craft_zoo.optimizers.spsa import SPSA as SPSA
    from craft_zoo.optimizers.spsa_clip import SPSAClip as SPSAClip
    from craft_zoo.optimizers.spsa_gc import SPSAGC as SPSAGC
    from craft_zoo.optimizers.variables import Choice as Choice
    from craft_zoo.optimizers.variables import Integer as Integer
    from craft_zoo.optimizers.variables import Real as Real
    from craft_zoo.optimizers.vkd_cma import VkdCMA as VkdCMA
    from craft_zoo.optimizers.zo_adam import ZOAdam as ZOAdam

_HOMES = {
    "Auto": "auto",
    "Best": "base",
    "CMA": "cma",
    "COBYQA": "cobyqa",
    "Choice": "variables",
    "ChoiceSearch": "choices",
    "Columns": "columns",
    "Genetic": "genetic",
    "HillClimb": "hill_climb",
    "Integer": "variables",
    "LBFGS": "l_bfgs",
    "LMMAES": "lm_ma_es",
    "LogitGN": "logit_gn",
    "NelderMead": "nelder_mead",
    "Nevergrad": "nevergrad",
    "Optimizer": "base",
    "OptimizerError": "errors",
    "OnePlusOne": "one_plus_one",
    "Option": "option",
    "OutputLoss": "base",
    "Outputs": "base",
    "Powell": "powell",
    "RandomSearch": "random_search",
    "Real": "variables",
    "Result": "result",
    "SNES": "snes",
    "SPSA": "spsa",
    "SPSAClip": "spsa_clip",
    "SPSAGC": "spsa_gc",
    "SepCMA": "sep_cma",
    "Space": "space",
    "VkdCMA": "vkd_cma",
    "ZOAdam": "zo_adam",
    "create": "registry",
    "maximize": "minimization",
    "minimize": "minimization",
    "names": "registry",
    "options": "registry",
    "parse_spec": "registry",
    "register": "registry",
    "restore": "checkpoint",
    "searches": "registry",
    "uses_blocks": "registry",
}

__all__ = list(_HOMES)


if not TYPE_CHECKING:  # else a type checker would accept unknown names

    def __getattr__(name: str) -> Any:
        """Import on first use, so that only the libraries of optimizers in use are loaded."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
