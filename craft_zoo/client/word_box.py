"""Base class of services opened on class names, which accept text prompts and image files."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts, own_images
from craft_zoo.blackbox.templates import as_template
from craft_zoo.client.files import ImageFiles
from craft_zoo.client.paid import PaidVLM
from craft_zoo.errors import CraftZooError


class WordBox(BlackBox):
    """A service opened on names, which accepts text prompts and no contexts.

    Args:
        owner: the service.
        names: class names, or other texts.
        init: see :meth:`VLM.classifier`.
    """

    accepts = frozenset({"texts"})

    def __init__(self, owner: PaidVLM, names: Sequence[str], init: str) -> None:
        self._owner = owner
        self.classnames, self.template = tuple(names), as_template(init)

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`."""
        name = self._owner._keys.take_name()
        files = own_images(images, ImageFiles, self._owner)
        if isinstance(prompts, np.ndarray):
            raise CraftZooError(f"{self._owner.name} takes words only, no contexts")
        return self._answers(prompts, files, name)

    @abstractmethod
    def _answers(
        self, prompts: Sequence[str | tuple[str, ...]], images: ImageFiles, name: str | None
    ) -> Iterator[np.ndarray]:
        """The logits (N, C) of each prompt; ``name`` is that of the query."""


def check_distinct(classnames: Sequence[str], who: str) -> None:
    """Check class names for a service that answers by name.

    Args:
        classnames: C class names.
        who: the service, for the message.

    Raises:
        CraftZooError: two are equal.
    """
    twice = sorted(name for name, count in Counter(classnames).items() if count > 1)
    if twice:
        raise CraftZooError(
            f"the class name {twice[0]!r} occurs twice, and {who} answers by name: give the "
            f"classes different names"
        )
