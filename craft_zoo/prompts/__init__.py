"""Prompts: where the context lives and how a candidate of the optimizer becomes one.

- :class:`Subspace`: a random linear subspace around the initial context
"""

from craft_zoo.prompts.subspace import Subspace

__all__ = ["Subspace"]
