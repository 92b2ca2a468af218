"""Broken parts of a source: complained of, or left out and named."""

from __future__ import annotations

from dataclasses import dataclass, field

from craft_zoo.data.image_files import LeftOut, say_left_out
from craft_zoo.errors import CraftZooError


@dataclass
class Faults:
    """What is wrong with a source.

    Attributes:
        skip: whether broken parts are left out.
        found: one sentence for each that was.
        files: that are not used, and do no harm.
    """

    skip: bool
    found: list[str] = field(default_factory=list)
    files: list[LeftOut] = field(default_factory=list)

    def add(self, fault: str, mend: str) -> None:
        """Note ``fault``; the caller leaves the part out.

        Raises:
            CraftZooError: broken parts are to be complained of; with what would mend this one.
        """
        if not self.skip:
            raise CraftZooError(f"{fault}: {mend} or add skip_bad=True (--skip-bad)")
        self.found.append(fault)

    def sentences(self) -> tuple[str, ...]:
        """What :attr:`Dataset.skipped` has of it, broken parts first."""
        return (*self.found, *say_left_out(self.files))
