"""craft-zoo: adapt a vision-language model that you can only query.

Example::

    import craft_zoo as cz

    vlm = cz.load_vlm("craft-mini")
    task = cz.few_shot(cz.load_dataset("digits"), shots=16, seed=1)
    tuned = cz.tune(vlm, task, method="craft", budget=2000)
    tuned.adapter.save("digits.adapter")

    adapter = cz.Adapter.load("digits.adapter")
    probabilities = adapter.predict(cz.load_vlm(adapter.model), ["a.jpg"])

- :mod:`craft_zoo.data`: data sets and few-shot tasks
- :mod:`craft_zoo.prompts`: contexts and the subspace in which they are searched
- :mod:`craft_zoo.blackbox`: the model's interface, the query meter, models
- :mod:`craft_zoo.craft`, :mod:`craft_zoo.methods`: the collaborative loop, and methods by name
- :mod:`craft_zoo.optimizers`: gradient-free optimizers, usable on their own
- :mod:`craft_zoo.benchmarks`: grids, statistics, plots
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter
    from craft_zoo.blackbox import Meter, load_vlm
    from craft_zoo.craft import CraftConfig, Step
    from craft_zoo.data import Dataset, LabelledImages, Task, few_shot, load_dataset
    from craft_zoo.errors import CraftZooError
    from craft_zoo.estimator import CraftClassifier, LogitTransformer
    from craft_zoo.evaluation import Evaluation, evaluate
    from craft_zoo.methods import Problem
    from craft_zoo.solution import Solution
    from craft_zoo.tuning import tune

_HOMES = {
    "Adapter": "adapter",
    "CraftClassifier": "estimator",
    "CraftConfig": "craft",
    "CraftZooError": "errors",
    "Dataset": "data",
    "Evaluation": "evaluation",
    "LabelledImages": "data",
    "LogitTransformer": "estimator",
    "Meter": "blackbox",
    "Problem": "methods",
    "Solution": "solution",
    "Step": "craft",
    "Task": "data",
    "evaluate": "evaluation",
    "few_shot": "data",
    "load_dataset": "data",
    "load_vlm": "blackbox",
    "tune": "tuning",
}

__all__ = [
    "Adapter",
    "CraftClassifier",
    "CraftConfig",
    "CraftZooError",
    "Dataset",
    "Evaluation",
    "LabelledImages",
    "LogitTransformer",
    "Meter",
    "Problem",
    "Solution",
    "Step",
    "Task",
    "evaluate",
    "few_shot",
    "load_dataset",
    "load_vlm",
    "tune",
]


if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import on first use, so that ``craft_zoo.optimizers`` alone does not load torch."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
