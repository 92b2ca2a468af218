"""Black boxes: contexts and images go in, class logits come out, nothing else is visible.

Whatever is asked passes one :class:`Meter`, which alone says how many queries were made.

- :class:`VLM`, :class:`BlackBox`, :class:`ImageSet`: the interface; all that the method may import;
  :class:`WrappedBlackBox`: something before a black box
- :class:`Meter`, :class:`MeteredBlackBox`, :class:`BudgetExceeded`: counting and the budget
- :class:`Journal`, :class:`RecordedVLM`: answers on disk, so that a killed run goes on unpaid;
  :class:`Busy`: another process does
- :func:`load_vlm`: open a model by name; :func:`model_name`: what it will be called
- :class:`OpenCLIP`: a model on this machine; :func:`cache_folder`: where it keeps image features
"""

from craft_zoo.blackbox.base import DEFAULT_INIT, VLM, BlackBox, ImageSet, Progress, WrappedBlackBox
from craft_zoo.blackbox.cache import cache_folder
from craft_zoo.blackbox.journal import Busy, Journal
from craft_zoo.blackbox.load import load_vlm
from craft_zoo.blackbox.meter import BudgetExceeded, Meter, MeteredBlackBox
from craft_zoo.blackbox.openclip import DEFAULT_MEMORY, PRECISIONS, OpenCLIP, model_name
from craft_zoo.blackbox.recorded import RecordedVLM

__all__ = [
    "DEFAULT_INIT",
    "DEFAULT_MEMORY",
    "PRECISIONS",
    "VLM",
    "BlackBox",
    "BudgetExceeded",
    "Busy",
    "ImageSet",
    "Journal",
    "Meter",
    "MeteredBlackBox",
    "OpenCLIP",
    "Progress",
    "RecordedVLM",
    "WrappedBlackBox",
    "cache_folder",
    "load_vlm",
    "model_name",
]
