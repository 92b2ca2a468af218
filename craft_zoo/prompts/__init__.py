"""Prompt spaces: how a candidate vector of the optimizer becomes a prompt.

- :class:`Subspace`: a random linear subspace around the initial context
- :class:`HardSpace`: choices of templates and words; :class:`PromptSpace`: the base class of both
- :data:`TEMPLATES`: hand-written prompt prefixes
- :class:`Coordinator`, :class:`PrincipalComponents`, :func:`square_pixels`: visual prompts, added
  to images instead of texts
"""

from craft_zoo.prompts.hard import HardSpace
from craft_zoo.prompts.space import PromptSpace
from craft_zoo.prompts.subspace import Subspace
from craft_zoo.prompts.templates import TEMPLATES
from craft_zoo.prompts.visual import Coordinator, PrincipalComponents, square_pixels

__all__ = [
    "TEMPLATES",
    "Coordinator",
    "HardSpace",
    "PrincipalComponents",
    "PromptSpace",
    "Subspace",
    "square_pixels",
]
