"""Prompt spaces: how a candidate vector of the optimizer becomes a prompt.

- :class:`Subspace`: a random linear subspace around the initial context
- :class:`HardSpace`: choices of templates and words; :class:`PromptSpace`: the base class of both
- :data:`TEMPLATES`: hand-written prompt prefixes; :mod:`craft_zoo.prompts.proposals`: prompts that
  a language model proposes
- :mod:`craft_zoo.prompts.visual`: visual prompts, added to images instead of texts, with PyTorch
"""

from craft_zoo.prompts.hard import HardSpace
from craft_zoo.prompts.space import PromptSpace
from craft_zoo.prompts.subspace import Subspace
from craft_zoo.prompts.templates import TEMPLATES

__all__ = [
    "TEMPLATES",
    "HardSpace",
    "PromptSpace",
    "Subspace",
]
