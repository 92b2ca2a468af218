"""The boundary to a model that someone else owns: prompts and images go in, class logits come out.

Every query passes a :class:`Meter`, which counts queries and predictions. Implementations are in
:mod:`craft_zoo.openclip` (models on this machine) and :mod:`craft_zoo.client` (models behind a
network, and functions of your own).

- :class:`VLM`, :class:`BlackBox`, :class:`ImageSet`: the interface, all that the method may import;
  :class:`WrappedBlackBox`, :class:`WrappedVLM`: bases of those that pass queries on to another
- :class:`ServingVLM`, :func:`serving`: optional ways to serve several clients at once;
  :class:`Question`: a query of one of them
- :data:`Prompt`, :data:`Prompts`: what a query consists of; :func:`as_template`, :func:`fill`,
  :func:`words_before`: prompts in words
- :class:`Meter`, :class:`MeteredBlackBox`, :class:`BudgetExceeded`: counting and the budget
- :class:`CostLimit`: limits of predictions and of money
- :class:`Journal`, :class:`ReplayVLM`: answers on disk, so that a killed run goes on without paying
  again; :class:`Busy`: another process uses the journal; :class:`RememberingVLM`: answers in memory
- :func:`load_vlm`, :class:`ModelSpec`: open a model by name; :func:`is_address`: whether that name
  leads over a network; :func:`register_model`, :func:`model_schemes`: kinds of models by the
  beginning of their names, as ``hf-api:``
"""

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompt,
    Prompts,
    WrappedBlackBox,
    WrappedVLM,
)
from craft_zoo.blackbox.cost_limit import CostLimit
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

__all__ = [
    "DEFAULT_INIT",
    "VLM",
    "BlackBox",
    "BudgetExceeded",
    "Busy",
    "CostLimit",
    "ImageSet",
    "Journal",
    "Meter",
    "MeteredBlackBox",
    "ModelSpec",
    "Progress",
    "Prompt",
    "Prompts",
    "Question",
    "RememberingVLM",
    "ReplayVLM",
    "ServingVLM",
    "WrappedBlackBox",
    "WrappedVLM",
    "as_template",
    "fill",
    "is_address",
    "load_vlm",
    "model_schemes",
    "register_model",
    "serving",
    "words_before",
]
