"""CraFT's collaborative loop: gradient-free prompt search together with training of a refiner.

Wang et al., "Connecting the Dots: Collaborative Fine-tuning for Black-Box Vision-Language Models",
ICML 2024. The loop uses only the interface of the black box.

- :func:`collaborate`: the loop; :class:`Step`: its state after a generation
- :class:`Objective`: turns logits into losses and updates the refiner; :class:`ConvexObjective`:
  with the convex refiner; :class:`CrossEntropyObjective`: without a refiner;
  :mod:`craft_zoo.craft.network_objective`: with the paper's refiner, by PyTorch
- :class:`RefinerFitter`: fits the convex refiner and a classifier on local features
- :class:`CraftConfig`: settings; :data:`DATASET_TEMPLATE`: value of ``template`` that selects the
  data set's template
"""

from craft_zoo.craft.config import DATASET_TEMPLATE, CraftConfig
from craft_zoo.craft.convex_objective import ConvexObjective
from craft_zoo.craft.loop import collaborate
from craft_zoo.craft.objective import CrossEntropyObjective, Objective
from craft_zoo.craft.refiner_fitter import RefinerFitter
from craft_zoo.craft.step import Step

__all__ = [
    "DATASET_TEMPLATE",
    "ConvexObjective",
    "CraftConfig",
    "CrossEntropyObjective",
    "Objective",
    "RefinerFitter",
    "Step",
    "collaborate",
]
