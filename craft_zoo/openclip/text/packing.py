"""Class names of different lengths, packed so that no padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

# Shorter rows of attention weights leave vector units idle, longer ones are mostly masked out.
_BIN_TOKENS = 16


@dataclass(frozen=True)
class Bins:
    """Bins that hold names of the same lengths in the same order, so that one mask serves all.

    Attributes:
        lengths: tokens of each of the k names in a bin.
        members: for each of m bins, the indices of its k names.
    """

    lengths: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens in all bins."""
        return len(self.members) * sum(self.lengths)


def pack(
    lengths: Sequence[int], most_tokens: int, bin_tokens: int = _BIN_TOKENS
) -> list[list[Bins]]:
    """Pack names into bins, and bins into packs.

    Args:
        lengths: tokens of each name.
        most_tokens: tokens of a pack at most; a longer bin has a pack of its own.
        bin_tokens: tokens of a bin at most; a longer name has a bin of its own, so with 1 each has.

    Returns:
        Packs that together hold every name once.
    """
    bins: list[list[int]] = []
    room = 0
    for name in sorted(range(len(lengths)), key=lengths.__getitem__):
        if lengths[name] > room:
            bins.append([])
            room = max(bin_tokens, lengths[name])
        bins[-1].append(name)
        room -= lengths[name]
    packs: list[list[Bins]] = []
    room = 0
    for shape, alike in groupby(bins, key=lambda names: tuple(lengths[name] for name in names)):
        members = [tuple(names) for names in alike]
        while members:
            fitting = max(0, room // sum(shape))
            if fitting == 0:
                packs.append([])
                room = most_tokens
                fitting = max(1, room // sum(shape))
            taken = Bins(shape, tuple(members[:fitting]))
            packs[-1].append(taken)
            room -= taken.tokens
            del members[:fitting]
    return packs
