"""Prompts: where the context lives and how a candidate of the optimizer becomes one.

- :class:`Subspace`: a random linear subspace around the initial context
- :data:`TEMPLATES`: a bank of hand-written beginnings of a prompt
"""

from craft_zoo.prompts.subspace import Subspace
from craft_zoo.prompts.templates import TEMPLATES

__all__ = ["TEMPLATES", "Subspace"]
