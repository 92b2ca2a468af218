"""Problem, the input of a method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet, Progress, Prompt
from craft_zoo.blackbox.meter import Meter
from craft_zoo.blackbox.templates import DEFAULT_INIT, as_template, words_before
from craft_zoo.craft import DATASET_TEMPLATE, CraftConfig
from craft_zoo.data.augment import augmented
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError, PromptError
from craft_zoo.local_features import check_features
from craft_zoo.methods.registry import DEFAULT_OPTIMIZER, find_method
from craft_zoo.methods.settings import own_options, values_of
from craft_zoo.refiner.prior import log_prior
from craft_zoo.seeding import generator


@dataclass
class Problem:
    """Everything that a method may use: a black box opened on the classes, and the few shots.

    It excludes the test images, so they cannot influence a method's choices.

    Attributes:
        vlm: the model, for methods that also query it on other texts.
        box: the model opened on the classes, not yet metered.
        images: the N few-shot images.
        labels: (N,) int64.
        meter: counts queries and predictions, and has the run's budget.
        budget: number of queries allowed.
        seed: seed of all random numbers.
        optimizer: spec of the optimizer, for methods that use one.
        config: settings.
        views: augmented views of the images for the refiner, each N images; none by default.
        name: name of the data set, without its folder. Only a method whose published settings
            differ by data set may use it.
        template: the initial prompt.
        groups: (N,) group of each image, see :class:`craft_zoo.data.LabelledImages`; None: the
            images are unrelated.
    """

    vlm: VLM
    box: BlackBox
    images: ImageSet
    labels: np.ndarray
    meter: Meter
    budget: int
    seed: int
    optimizer: str = DEFAULT_OPTIMIZER
    config: CraftConfig = field(default_factory=CraftConfig)
    views: Sequence[ImageSet] = ()
    name: str = ""
    template: str = as_template(DEFAULT_INIT)
    groups: np.ndarray | None = None

    @property
    def initial_prompt(self) -> Prompt:
        """The initial prompt: the context that represents the template, or else the template."""
        return self.box.initial_prompt if self.box.template == self.template else self.template

    @property
    def initial_context(self) -> np.ndarray:
        """The initial context of a search, (n_ctx, dim).

        Raises:
            PromptError: the model accepts only text prompts.
        """
        self.check_accepts("contexts")
        return self.box.initial_context

    def own(self, setting: str) -> Any:
        """Value of a setting that a method declares itself.

        Args:
            setting: ``METHOD.SETTING``.
        """
        return dict(self.config.own).get(setting, own_options()[setting].default)

    def own_of(self, method: str) -> Callable[[str], Any]:
        """A function that returns the value of a setting of a method by the name behind the dot."""
        return lambda setting: self.own(f"{method}.{setting}")

    def check_positive(self, *settings: str) -> None:
        """Check that settings ``METHOD.SETTING`` are at least 1.

        Raises:
            CraftZooError: one is not.
        """
        for setting in settings:
            if self.own(setting) < 1:
                raise CraftZooError(
                    f"setting {setting} must be at least 1, not {self.own(setting)}"
                )

    def check_budget(self, queries: int, what: str, setting: str) -> None:
        """Check that the budget suffices for one step of a method.

        Args:
            queries: number of queries of the step.
            what: words for the step.
            setting: ``METHOD.SETTING``; with a lower value, a step takes fewer queries.

        Raises:
            CraftZooError: it does not.
        """
        if queries > self.budget:
            raise CraftZooError(
                f"{what} takes {queries:,} queries, more than the budget of {self.budget:,}: raise "
                f"the budget or lower {setting}"
            )

    def check_accepts(self, kind: Literal["contexts", "texts"]) -> None:
        """Check that the model accepts contexts, or text prompts.

        Raises:
            PromptError: the model does not accept prompts of this kind.
        """
        if kind in self.box.accepts:
            return
        if kind == "contexts":
            raise PromptError(
                f"{self.vlm.name} takes words only, no contexts: use a method that asks in words, "
                f"as hard, craft-hard, refine or anchors"
            )
        raise PromptError(
            f"{self.vlm.name} takes contexts only, no words: use a method that asks with contexts, "
            f"as craft, prompt, refine or anchors"
        )

    def classifier(self, texts: Sequence[str]) -> BlackBox:
        """The model opened on other texts in place of the class names, with the same template."""
        return self.vlm.independent(texts, self.box.template)

    @classmethod
    def open(
        cls,
        vlm: VLM,
        classnames: Sequence[str],
        shots: LabelledImages,
        *,
        budget: int,
        seed: int,
        optimizer: str = DEFAULT_OPTIMIZER,
        config: CraftConfig | None = None,
        progress: Progress | None = None,
        name: str = "",
        template: str | None = None,
        method: str | None = None,
    ) -> Problem:
        """Pass the few shots to a model and open it on the class names.

        Args:
            vlm: the model.
            classnames: C class names.
            shots: the few shots.
            budget: number of queries allowed.
            seed: seed of all random numbers.
            optimizer: spec of the optimizer.
            config: settings.
            progress: called as the model processes the images.
            name: see :class:`Problem`.
            template: the data set's own template, used if ``config.template`` is ``dataset``.
            method: name of the method that the problem is for, if that has a prompt of its own.

        Raises:
            CraftZooError: an image or a class name is invalid, or the prior that the method reads
                has not C numbers.
        """
        config = config or CraftConfig()
        if config.local:
            check_features(config.local)
        if method is not None and "prior" in values_of(method, config):
            log_prior(config.prior, shots.labels, len(classnames))  # before the first query
        prompt = starting_template(config, template, method)
        rng = generator(seed, "views")
        views = [vlm.images(augmented(shots.images, rng), progress) for _ in range(config.views)]
        return cls(
            vlm=vlm,
            # A context replaces the words before {}, and a template may have none.
            box=vlm.classifier(classnames, prompt if words_before(prompt) else DEFAULT_INIT),
            images=vlm.images(shots.images, progress),
            labels=shots.labels,
            meter=Meter(budget, len(classnames)),
            budget=budget,
            seed=seed,
            optimizer=optimizer,
            config=config,
            views=views,
            name=name,
            template=prompt,
            groups=shots.groups,
        )


def starting_template(config: CraftConfig, own: str | None, method: str | None = None) -> str:
    """The initial prompt of a method.

    Args:
        config: the method's settings; ``template`` may request the data set's own template.
        own: the data set's own template; None: it has none.
        method: name of the method, if it has a prompt of its own.
    """
    start = None if method is None else find_method(method).start
    words = config.template if start is None else start
    return as_template((own or DEFAULT_INIT) if words == DATASET_TEMPLATE else words)
