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

import lazy_loader

# The stub lists the names. Their modules are imported on first use, so that only the libraries of
# optimizers in use are loaded.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
