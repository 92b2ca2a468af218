"""Methods that adapt a black box to a few shots within a budget of queries.

A method takes a :class:`Problem` and yields a :class:`~craft_zoo.craft.Step` whenever it has a new
solution to deploy; the last one is its result. It never sees the test images.

- ``craft``, its halves ``prompt`` and ``refine``, their versions with anchors ``craft-anchors`` and
  ``anchors``, and with text prompts ``craft-hard`` and ``hard``
- baselines: ``zero-shot``, ``templates``, ``bbt``, ``spsa-gc``, ``spsa-clip``, ``zip``,
  ``sharpzo``, ``bar``, ``cbbt``, ``blackvip``, ``blackvip-se``, ``visual-prompt``,
  ``bpt-vlm``, ``llm-prompts``, ``craft-released``, and the white-box ``coop``, ``coop-csc``,
  ``linear-probe``, ``vectors-local`` and ``lfa-local``
- ``vectors`` and ``lfa``: a linear classifier, or a linear map, on vectors that a service sells
- :func:`get_method`, :func:`method_names`, :func:`register_method`: registry of methods
- :func:`read_settings`, :func:`setting_options`, :func:`own_options`, :func:`own_settings`,
  :func:`earlier_own_settings`, :func:`without_defaults`: settings by name
- :func:`uses_optimizer`, :func:`is_white_box`, :func:`settings_of`, :func:`values_of`,
  :func:`default_optimizer`, :func:`optimizers_for`, :func:`readers_of`, :func:`asks_initial`,
  :func:`asks_llm`, :func:`chooses_words`, :func:`starting_template`, :func:`trial_space`:
  properties of methods
- :func:`recorded`: journals a method's queries
- :func:`most_queries`, :func:`most_prompts`, :func:`most_images`, :func:`most_predictions`,
  :func:`most_llm_usage`: upper bounds on a method's cost; :func:`prompts_an_image`,
  :func:`deployed_anchors`: cost of a deployed image
"""

from craft_zoo.methods.base import (
    DEFAULT_CATEGORICAL_OPTIMIZER,
    DEFAULT_OPTIMIZER,
    EARLIER_SETTINGS,
    Method,
    Problem,
    asks_initial,
    asks_llm,
    check_method,
    chooses_words,
    default_optimizer,
    deployed_anchors,
    earlier_own_settings,
    get_method,
    is_white_box,
    method_names,
    most_images,
    most_llm_usage,
    most_predictions,
    most_prompts,
    most_queries,
    optimizers_for,
    own_options,
    own_settings,
    prompts_an_image,
    readers_of,
    recorded,
    register_method,
    settings_of,
    starting_template,
    trial_space,
    uses_optimizer,
    values_of,
)
from craft_zoo.methods.settings import read_settings, setting_options, without_defaults

__all__ = [
    "DEFAULT_CATEGORICAL_OPTIMIZER",
    "DEFAULT_OPTIMIZER",
    "EARLIER_SETTINGS",
    "Method",
    "Problem",
    "asks_initial",
    "asks_llm",
    "check_method",
    "chooses_words",
    "default_optimizer",
    "deployed_anchors",
    "earlier_own_settings",
    "get_method",
    "is_white_box",
    "method_names",
    "most_images",
    "most_llm_usage",
    "most_predictions",
    "most_prompts",
    "most_queries",
    "optimizers_for",
    "own_options",
    "own_settings",
    "prompts_an_image",
    "read_settings",
    "readers_of",
    "recorded",
    "register_method",
    "setting_options",
    "settings_of",
    "starting_template",
    "trial_space",
    "uses_optimizer",
    "values_of",
    "without_defaults",
]
