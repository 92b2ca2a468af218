"""Upper bounds of what runs of a method cost: queries, prompts, predictions, a language model."""

from __future__ import annotations

from collections.abc import Sequence

from craft_zoo.blackbox.usage import Usage
from craft_zoo.craft import CraftConfig
from craft_zoo.methods.registry import find_method
from craft_zoo.methods.settings import own_settings


def most_queries(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Maximum number of queries of the method."""
    return min(budget, find_method(name).queries(config, budget, n_classes))


def most_prompts(name: str, config: CraftConfig, budget: int, n_classes: int) -> int:
    """Maximum number of prompts under which the method scores its training images.

    A service bills this number of predictions per image. It is smaller than the number of queries
    if many texts, as anchors, are scored under one prompt.
    """
    return min(budget, find_method(name).prompts(config, budget, n_classes))


def most_images(name: str, config: CraftConfig, images: int) -> int:
    """Maximum number of images in a query: all N training images, or a batch of them."""
    return min(images, own_settings(name, config).get(f"{name}.batch", images))


def most_llm_usage(name: str, config: CraftConfig, budget: int, classnames: Sequence[str]) -> Usage:
    """Maximum usage of a language model in a run of the method.

    Raises:
        CraftZooError: the method needs one that is not named.
    """
    pays = find_method(name).pays
    return Usage() if pays is None else pays(config, budget, classnames)


def most_predictions(name: str, config: CraftConfig, budget: int, images: int, classes: int) -> int:
    """Maximum number of predictions that a service bills for tuning with the method.

    Args:
        name: name of the method.
        config: the method's settings.
        budget: in queries.
        images: number of training images N.
        classes: number of classes C.
    """
    searched = most_prompts(name, config, budget, classes) * most_images(name, config, images)
    return searched + find_method(name).views(config, budget, classes) * images
