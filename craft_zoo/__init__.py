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

import lazy_loader

# The stub lists the names. Their modules are imported on first use, so that craft_zoo.optimizers
# alone does not load PyTorch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
