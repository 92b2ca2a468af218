"""Prompts: where the context lives and how a candidate of the optimizer becomes one.

- :class:`Subspace`: a random linear subspace around the initial context
- :data:`TEMPLATES`: a bank of hand-written beginnings of a prompt
- :class:`Coordinator`, :func:`square_pixels`: prompts for images instead of texts
"""

from craft_zoo.prompts.subspace import Subspace
from craft_zoo.prompts.templates import TEMPLATES
from craft_zoo.prompts.visual import Coordinator, square_pixels

__all__ = ["TEMPLATES", "Coordinator", "Subspace", "square_pixels"]
