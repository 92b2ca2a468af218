"""Settings of the collaborative loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers.option import Option, check_names

DATASET_TEMPLATE = "dataset"
_MOST = 1_000_000  # of any number among the settings: some of them are sizes in memory


@dataclass(frozen=True)
class CraftConfig:
    """Settings of the collaborative loop; the defaults serve every data set.

    Attributes:
        template: the prompt to start from, as in "a photo of a {}, a type of pet."; without {}, the
            words before the class name. ``dataset``: the data set's own hand-written one.
        words: words that a prompt in words may have beside each class name, so many before it and
            so many behind it (hard).
        refiner: ``convex``, or ``network`` as in the paper.
        intrinsic_dim: d, dimensions that the optimizer searches.
        scale: size of the subspace, see :meth:`Subspace.relative`.
        context: ``class-specific``, each class has its own, where the optimizer can use it
            (``uses_blocks``; logit-gn does) and the classes share one elsewhere; or ``unified``.
        anchors: logits beside the classes' that the methods with anchors ask for.
        anchor_bank: what they are logits of: ``words``, drawn from the shipped list; of four times
            as many those of most ``spread`` over the images, or of most ``information`` on the
            labels; or the class names under other ``contexts``.
        refit_queries: the convex refiner is solved again each time so many queries were made.
        patience: queries after which a search that held-out shots speak against all the while is
            given up; 0: no shots are held out (convex refiner; with four shots or more, if a
            quarter of them is 100 images).
        consistency: w, weight of the prediction-consistent term in both losses (network).
        consistency_share: share of the budget after which the refiner's loss drops that term
            (1/n of the paper; network).
        hidden: width of the refiner's hidden layer (network).
        lr: Adam's learning rate for the refiner (network).
        batch_size: logits a step of the refiner's training (network).
        epoch_queries: the refiner trains one epoch each time so many queries were made, so that
            optimizers with small and large generations train it alike (network).
        views: augmented views of the training images that the refiner is trained on, asked for
            under the current context at the price of N predictions an epoch. 0: it is trained on
            the logits that queries have returned, which costs no prediction (network).
    """

    template: str = DEFAULT_INIT
    words: int = 1
    refiner: Literal["convex", "network"] = "convex"
    intrinsic_dim: int = 512
    scale: float = 3.0
    context: Literal["class-specific", "unified"] = "class-specific"
    anchors: int = 256
    anchor_bank: Literal["words", "spread", "information", "contexts"] = "words"
    refit_queries: int = 20
    patience: int = 200
    consistency: float = 0.1
    consistency_share: float = 1.0
    hidden: int = 256
    lr: float = 1e-3
    batch_size: int = 256
    epoch_queries: int = 40
    views: int = 0

    def __post_init__(self) -> None:
        for name, option in setting_options().items():
            choices, value = get_args(option.type), getattr(self, name)
            if choices and value not in choices:
                raise CraftZooError(
                    f"setting {name} must be one of {', '.join(choices)}, not {value!r}"
                )
        for name in (
            *("intrinsic_dim", "scale", "anchors", "refit_queries"),
            *("hidden", "lr", "batch_size", "epoch_queries"),
        ):
            if not 0 < getattr(self, name) <= _MOST:
                raise CraftZooError(
                    f"setting {name} must be above 0 and at most {_MOST:,}, not "
                    f"{getattr(self, name)}"
                )
        as_template(self.template)
        for name in ("words", "patience", "consistency", "consistency_share", "views"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise CraftZooError(
                    f"setting {name} must not be below 0 or above {_MOST:,}, it is "
                    f"{getattr(self, name)}"
                )


@cache
def setting_options() -> dict[str, Option]:
    """The settings with their types and defaults, by name."""
    hints = get_type_hints(CraftConfig)
    return {
        field.name: Option(field.name, hints[field.name], field.default)
        for field in fields(CraftConfig)
    }


def read_settings(values: Mapping[str, Any], base: CraftConfig | None = None) -> CraftConfig:
    """A configuration from values by name, as text or of the setting's type.

    Args:
        values: that differ from ``base``.
        base: the configuration that they change; None: the default.

    Raises:
        OptimizerError: an unknown setting or a value of the wrong type.
        CraftZooError: a value out of range.
    """
    owner, known = "the method's configuration", setting_options()
    check_names(values, known, owner)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str):
            read[name] = known[name].convert(value, owner)
        else:
            read[name] = known[name].accept(value, owner)
    return replace(base or CraftConfig(), **read)
