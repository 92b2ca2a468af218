"""Interface to a model that can only be queried: prompts and images in, class logits out.

A run sends its queries through a :class:`Meter`, which counts queries and predictions. Models are
implemented in :mod:`craft_zoo.openclip` (on this machine) and :mod:`craft_zoo.client` (behind a
network, or a Python function).

- :class:`VLM`, :class:`BlackBox`, :class:`ImageSet`: the interface, which methods depend on;
  :class:`WrappedBlackBox`, :class:`WrappedVLM`: base classes of wrappers
- :func:`check_described`: whether an address still serves the same model
- :class:`ServingVLM`, :func:`serving`: optional interface for serving several clients at once;
  :class:`Question`: a query of one client
- :data:`Prompt`, :data:`Prompts`: types of prompts; :func:`as_template`, :func:`fill`,
  :func:`words_before`: functions on templates
- :class:`Meter`, :class:`MeteredBlackBox`, :class:`BudgetExceeded`: query counting and budget
- :class:`CostLimit`: limits on billed predictions and money; :class:`Usage`, :class:`Price`: what a
  service bills and what that costs
- :class:`Journal`, :class:`ReplayVLM`: answers on disk, so that a killed run resumes without paying
  again; :class:`Busy`: another process uses the journal; :class:`RememberingVLM`: answers in memory
- :func:`load_vlm`, :class:`ModelSpec`: open a model by name; :func:`is_address`: whether a model is
  reached over a network; :func:`register_model`, :func:`model_schemes`: kinds of models, by the
  prefix of their names, such as ``hf-api:``
"""

from craft_zoo.blackbox.base import VLM, Asked, BlackBox, ImageSet, Progress, Prompt, Prompts
from craft_zoo.blackbox.cost_limit import CostLimit
from craft_zoo.blackbox.identity import check_described
from craft_zoo.blackbox.journal import Busy, Journal
from craft_zoo.blackbox.load import (
    ModelSpec,
    is_address,
    load_vlm,
    model_schemes,
    register_model,
)
from craft_zoo.blackbox.meter import BudgetExceeded, Meter, MeteredBlackBox
from craft_zoo.blackbox.remembering import RememberingVLM
from craft_zoo.blackbox.replay import ReplayVLM
from craft_zoo.blackbox.serving import Question, ServingVLM, serving
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, fill, words_before
from craft_zoo.blackbox.usage import Price, Usage
from craft_zoo.blackbox.wrappers import WrappedBlackBox, WrappedVLM

__all__ = [
    "DEFAULT_INIT",
    "VLM",
    "Asked",
    "BlackBox",
    "BudgetExceeded",
    "Busy",
    "CostLimit",
    "ImageSet",
    "Journal",
    "Meter",
    "MeteredBlackBox",
    "ModelSpec",
    "Price",
    "Progress",
    "Prompt",
    "Prompts",
    "Question",
    "RememberingVLM",
    "ReplayVLM",
    "ServingVLM",
    "Usage",
    "WrappedBlackBox",
    "WrappedVLM",
    "as_template",
    "check_described",
    "fill",
    "is_address",
    "load_vlm",
    "model_schemes",
    "register_model",
    "serving",
    "words_before",
]
