"""Collects broken parts of a source, which are errors or are skipped."""

from __future__ import annotations

from dataclasses import dataclass, field

from craft_zoo.data.image_files import LeftOut, say_left_out
from craft_zoo.errors import CraftZooError


@dataclass
class SkippedParts:
    """Broken parts and unused files of a source.

    Attributes:
        skip: whether broken parts are skipped instead of raising an error.
        found: one sentence for each skipped part.
        files: other files that are not used, which are no errors.
    """

    skip: bool
    found: list[str] = field(default_factory=list)
    files: list[LeftOut] = field(default_factory=list)

    def add(self, fault: str, mend: str) -> None:
        """Record ``fault``; the caller skips the part.

        Raises:
            CraftZooError: ``skip`` is false; the message has the remedy ``mend``.
        """
        if not self.skip:
            raise CraftZooError(f"{fault}: {mend} or add skip_bad=True (--skip-bad)")
        self.found.append(fault)

    def sentences(self) -> tuple[str, ...]:
        """Sentences for :attr:`Dataset.skipped`, broken parts first."""
        return (*self.found, *say_left_out(self.files))
