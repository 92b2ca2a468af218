"""Settings of the collaborative loop."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from craft_zoo.anchors import BackgroundFile
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template
from craft_zoo.counts import with_plain_numbers
from craft_zoo.errors import CraftZooError
from craft_zoo.refiner.prior import TRAIN, UNIFORM, numbers_of_prior

DATASET_TEMPLATE = "dataset"
MOST = 1_000_000  # maximum of every numeric setting, as some determine memory use
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {  # by annotation
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
}


@dataclass(frozen=True)
class CraftConfig:
    """Settings of the collaborative loop; the defaults serve every data set.

    Attributes:
        template: initial prompt, as in "a photo of a {}, a type of pet."; without {}, the words
            before the class name. ``dataset``: the data set's hand-written template.
        words: maximum number of words on each side of the class name in a prompt made of words
            (method ``hard``).
        refiner: ``convex``, or ``network`` as in the paper.
        intrinsic_dim: d, dimension of the search space.
        scale: size of the subspace, see :meth:`Subspace.relative`.
        context: ``class-specific``, a context for each class, if the optimizer supports it
            (``uses_blocks``, as logit-gn does), otherwise a shared one; or ``unified``.
        anchors: number of additional logits that the methods with anchors query.
        anchor_bank: texts of the anchors: ``words`` drawn from the shipped list; the words with the
            largest ``spread`` over the images, or the most ``information`` about the labels, among
            four times as many; or the class names under other ``contexts``.
        background: file that ``craft-zoo background`` made of the model, from whose words the
            anchors are drawn; the refiner's features are whitened by it, see :class:`Background`.
            "": none.
        per_image: maximum number of predictions for a deployed image, 1 + M / C with M anchors and
            C classes: of the anchors that were queried, those are deployed that explain most of
            the labels. 0: no limit.
        discriminant: whether the convex refiner is the sum of logistic regression and discriminant
            analysis, see :func:`craft_zoo.refiner.choose_sum`; otherwise logistic regression alone.
        local: names of features that this machine computes of the images, joined by ``+``, see
            :func:`craft_zoo.local_features.feature_names`; a classifier on them is deployed with
            the convex refiner. "": none.
        prior: probabilities of the classes that a deployed convex refiner assumes before it sees an
            image: ``uniform``; ``train``, the shares of the training images; or a number for each
            class, separated by commas.
        initial_answer: whether the convex refiner of a search is fitted to the initial context's
            logits too, where no image can be held out (one shot a class).
        refit_queries: queries between two fits of the convex refiner.
        patience: queries after which a search is given up whose prompts have all been worse than
            the initial one on held-out shots; 0: no shots are held out (convex refiner; needs at
            least four shots, a quarter of which is at least 100 images).
        consistency: w, weight of the prediction-consistent term in both losses (network).
        consistency_share: share of the budget after which the refiner's loss drops that term
            (1/n of the paper; network).
        hidden: width of the refiner's hidden layer (network).
        lr: Adam's learning rate for the refiner (network).
        batch_size: batch size of the refiner's training (network).
        epoch_queries: queries between two epochs of the refiner's training, which makes its amount
            independent of the optimizer's generation size (network).
        views: number of augmented views of the training images that the refiner is trained on; they
            are queried under the current context and cost N predictions per epoch. 0: the refiner
            is trained on the logits of the search, without further predictions (network).
        own: settings that methods declare themselves, as pairs ("method.setting", hashable value)
            sorted by name, see :func:`craft_zoo.methods.register_method`.
    """

    template: str = DEFAULT_INIT
    words: int = 1
    refiner: Literal["convex", "network"] = "convex"
    intrinsic_dim: int = 512
    scale: float = 3.0
    context: Literal["class-specific", "unified"] = "class-specific"
    anchors: int = 256
    anchor_bank: Literal["words", "spread", "information", "contexts"] = "words"
    background: str = ""
    per_image: float = 0.0
    discriminant: bool = True
    local: str = ""
    prior: str = UNIFORM
    initial_answer: bool = True
    refit_queries: int = 20
    patience: int = 200
    consistency: float = 0.1
    consistency_share: float = 1.0
    hidden: int = 256
    lr: float = 1e-3
    batch_size: int = 256
    epoch_queries: int = 40
    views: int = 0
    own: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        with_plain_numbers(self)
        # A path of type str, as records have it, gets the hash of its content.
        object.__setattr__(self, "background", BackgroundFile(self.background))
        for field in fields(self):
            self._check_type(field.name, str(field.type))
        self._check_choice("refiner", ("convex", "network"))
        self._check_choice("context", ("class-specific", "unified"))
        self._check_choice("anchor_bank", ("words", "spread", "information", "contexts"))
        if self.background and self.anchor_bank != "words":
            raise CraftZooError(
                f"a background has its own words: leave out background or anchor_bank="
                f"{self.anchor_bank}"
            )
        for name in (
            *("intrinsic_dim", "scale", "anchors", "refit_queries"),
            *("hidden", "lr", "batch_size", "epoch_queries"),
        ):
            if not 0 < getattr(self, name) <= MOST:
                raise CraftZooError(
                    f"setting {name} must be above 0 and at most {MOST:,}, not "
                    f"{getattr(self, name)}"
                )
        if not (self.per_image == 0 or 1 <= self.per_image < float("inf")):
            raise CraftZooError(
                f"setting per_image must be at least 1, as a deployed image costs a prediction, or "
                f"0 for no limit, not {self.per_image:g}"
            )
        as_template(self.template)
        if self.prior not in (UNIFORM, TRAIN):
            numbers_of_prior(self.prior)
        for name in ("words", "patience", "consistency", "consistency_share", "views"):
            if not 0 <= getattr(self, name) <= MOST:
                raise CraftZooError(
                    f"setting {name} must not be below 0 or above {MOST:,}, it is "
                    f"{getattr(self, name)}"
                )

    def _check_type(self, name: str, of: str) -> None:
        """Check that a number, text or truth value is one; CraftConfig(anchors="256") is none."""
        value = getattr(self, name)
        kind, words = _KINDS.get(of, (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and of in ("int", "float")):
            raise CraftZooError(f"setting {name} must be {words}, not {value!r}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise CraftZooError(
                f"setting {name} must be one of {', '.join(choices)}, not {value!r}"
            )
