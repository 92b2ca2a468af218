"""Methods that adapt a black box to a few shots within a budget of queries.

A method takes a :class:`Problem` and yields a :class:`~craft_zoo.craft.Step` whenever it has a new
solution to deploy; the last one is its result. It never sees the test images.

- ``craft``, its halves ``prompt`` and ``refine``, their versions with anchors ``craft-anchors`` and
  ``anchors``, and with text prompts ``craft-hard`` and ``hard``
- baselines: ``zero-shot``, ``templates``, ``bbt``, ``spsa-gc``, ``spsa-clip``, ``zip``,
  ``sharpzo``, ``bar``, ``cbbt``, ``blackvip``, ``blackvip-se``, ``visual-prompt``,
  ``bpt-vlm``, ``llm-prompts``, ``craft-released``, and the white-box ``coop``, ``coop-csc``,
  ``linear-probe``, ``vectors-local``, ``lfa-local`` and ``bpt-vlm-deep``
- ``vectors`` and ``lfa``: a linear classifier, or a linear map, on vectors that a service sells
- :func:`get_method`, :func:`find_method`, :func:`method_names`, :func:`register_method`: the
  registry; :class:`RegisteredMethod`: a method with its properties
- :func:`read_settings`, :func:`setting_options`, :func:`own_options`, :func:`own_settings`,
  :func:`earlier_own_settings`, :func:`without_defaults`: settings by name;
  :func:`settings_of`, :func:`values_of`, :func:`readers_of`: which settings each method reads
- :func:`is_white_box`, :func:`optimizers_for`, :func:`starting_template`, :func:`trial_space`:
  properties of methods by name
- :func:`check_method`, :func:`check_background`, :func:`check_words`: checks before the first query
- :func:`recorded`: journals a method's queries
- :func:`most_queries`, :func:`most_prompts`, :func:`most_images`, :func:`most_predictions`,
  :func:`most_llm_usage`: upper bounds on a method's cost
"""

from craft_zoo.methods.checks import check_background, check_method, check_words
from craft_zoo.methods.costs import (
    most_images,
    most_llm_usage,
    most_predictions,
    most_prompts,
    most_queries,
)
from craft_zoo.methods.problem import Problem, starting_template
from craft_zoo.methods.registry import (
    DEFAULT_CATEGORICAL_OPTIMIZER,
    DEFAULT_OPTIMIZER,
    Method,
    RegisteredMethod,
    find_method,
    get_method,
    is_white_box,
    method_names,
    optimizers_for,
    recorded,
    register_method,
    trial_space,
)
from craft_zoo.methods.settings import (
    EARLIER_SETTINGS,
    earlier_own_settings,
    own_options,
    own_settings,
    read_settings,
    readers_of,
    setting_options,
    settings_of,
    values_of,
    without_defaults,
)

__all__ = [
    "DEFAULT_CATEGORICAL_OPTIMIZER",
    "DEFAULT_OPTIMIZER",
    "EARLIER_SETTINGS",
    "Method",
    "Problem",
    "RegisteredMethod",
    "check_background",
    "check_method",
    "check_words",
    "earlier_own_settings",
    "find_method",
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
    "read_settings",
    "readers_of",
    "recorded",
    "register_method",
    "setting_options",
    "settings_of",
    "starting_template",
    "trial_space",
    "values_of",
    "without_defaults",
]
