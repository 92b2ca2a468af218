"""Packs class names of different lengths into sequences without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

# Shorter attention rows leave vector units idle; longer ones are mostly masked out.
_BIN_TOKENS = 16


@dataclass(frozen=True)
class Bins:
    """Bins with the same lengths of names in the same order, so that they share one mask.

    Attributes:
        lengths: number of tokens of each of the k names in a bin.
        members: for each of m bins, the indices of its k names.
    """

    lengths: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Number of tokens in all bins."""
        return len(self.members) * sum(self.lengths)


def pack(
    lengths: Sequence[int], most_tokens: int, bin_tokens: int = _BIN_TOKENS
) -> list[list[Bins]]:
    """Pack names into bins, and bins into packs.

    Args:
        lengths: number of tokens of each name.
        most_tokens: maximum tokens of a pack; a longer bin gets its own pack.
        bin_tokens: maximum tokens of a bin; a longer name gets its own bin, so 1 separates all.

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
