"""CraFT's collaborative loop: a prompt searched without gradients together with a refiner.

Wang et al., "Connecting the Dots: Collaborative Fine-tuning for Black-Box Vision-Language Models",
ICML 2024. It uses only the interface of the black box.

- :func:`collaborate`: the loop; :class:`Step`: its state after a generation
- :class:`Objective`: turns logits into losses and updates the refiner; :class:`ConvexObjective`,
  :class:`NetworkObjective`: with the convex refiner, the paper's; :class:`CrossEntropyObjective`:
  without a refiner
- :class:`CraftConfig`: settings;
  :data:`DATASET_TEMPLATE`: the value of ``template`` that asks for the data set's own
"""

from craft_zoo.craft.config import DATASET_TEMPLATE, CraftConfig
from craft_zoo.craft.convex_objective import ConvexObjective
from craft_zoo.craft.loop import collaborate
from craft_zoo.craft.network_objective import NetworkObjective
from craft_zoo.craft.objective import CrossEntropyObjective, Objective
from craft_zoo.craft.step import Step

__all__ = [
    "DATASET_TEMPLATE",
    "ConvexObjective",
    "CraftConfig",
    "CrossEntropyObjective",
    "NetworkObjective",
    "Objective",
    "Step",
    "collaborate",
]
