"""Prompts: where the context lives and how a candidate of the optimizer becomes one.

- :class:`Subspace`: a random linear subspace around the initial context
- :class:`HardSpace`: templates and words to choose; :class:`PromptSpace`: what they are cases of
- :data:`TEMPLATES`: a bank of hand-written beginnings of a prompt
- :class:`Coordinator`, :func:`square_pixels`: prompts for images instead of texts
"""

from craft_zoo.prompts.hard import HardSpace
from craft_zoo.prompts.space import PromptSpace
from craft_zoo.prompts.subspace import Subspace
from craft_zoo.prompts.templates import TEMPLATES
from craft_zoo.prompts.visual import Coordinator, square_pixels

__all__ = ["TEMPLATES", "Coordinator", "HardSpace", "PromptSpace", "Subspace", "square_pixels"]
