"""Black boxes: prompts and images go in, class logits come out, nothing else is visible.

Whatever is asked passes one :class:`Meter`, which alone says how many queries were made.

- :class:`VLM`, :class:`BlackBox`, :class:`ImageSet`: the interface; all that the method may import;
  :class:`WrappedBlackBox`: something before a black box; :class:`Question`: something to be asked
- :data:`Prompt`, :data:`Prompts`: what it is asked with; :func:`as_template`, :func:`fill`,
  :func:`words_before`: prompts in words
- :class:`Meter`, :class:`MeteredBlackBox`, :class:`BudgetExceeded`: counting and the budget
- :class:`Journal`, :class:`RecordedVLM`: answers on disk, so that a killed run goes on unpaid;
  :class:`Busy`: another process does; :class:`RememberingVLM`: answers in memory
- :func:`load_vlm`: open a model by name; :func:`is_address`: whether that leads over a network;
  :func:`model_name`: what it will be called;
  :func:`pretrained_models`: which there are
- :class:`RemoteVLM`: a model that ``craft-zoo serve`` serves; :class:`HuggingFaceVLM`: one behind
  Hugging Face's task API; :func:`from_callable`: any function of your own
- :class:`OpenCLIP`: a model on this machine; :func:`cache_folder`: where it keeps image features
"""

from craft_zoo.blackbox.base import (
    VLM,
    BlackBox,
    ImageSet,
    Progress,
    Prompt,
    Prompts,
    Question,
    WrappedBlackBox,
)
from craft_zoo.blackbox.cache import cache_folder
from craft_zoo.blackbox.callables import from_callable
from craft_zoo.blackbox.hugging_face import HuggingFaceVLM
from craft_zoo.blackbox.journal import Busy, Journal
from craft_zoo.blackbox.load import is_address, load_vlm
from craft_zoo.blackbox.meter import BudgetExceeded, Meter, MeteredBlackBox
from craft_zoo.blackbox.openclip import (
    DEFAULT_MEMORY,
    PRECISIONS,
    OpenCLIP,
    pretrained_models,
)
from craft_zoo.blackbox.recorded import RecordedVLM
from craft_zoo.blackbox.remembering import RememberingVLM
from craft_zoo.blackbox.remote import RemoteVLM
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, fill, words_before
from craft_zoo.blackbox.weights import computed_before, model_name, with_activation

__all__ = [
    "DEFAULT_INIT",
    "DEFAULT_MEMORY",
    "PRECISIONS",
    "VLM",
    "BlackBox",
    "BudgetExceeded",
    "Busy",
    "HuggingFaceVLM",
    "ImageSet",
    "Journal",
    "Meter",
    "MeteredBlackBox",
    "OpenCLIP",
    "Progress",
    "Prompt",
    "Prompts",
    "Question",
    "RecordedVLM",
    "RememberingVLM",
    "RemoteVLM",
    "WrappedBlackBox",
    "as_template",
    "cache_folder",
    "computed_before",
    "fill",
    "from_callable",
    "is_address",
    "load_vlm",
    "model_name",
    "pretrained_models",
    "with_activation",
    "words_before",
]
