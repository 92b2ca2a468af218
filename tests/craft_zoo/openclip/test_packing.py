"""Packing names without padding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.openclip.text.packing import pack

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60)


@given(lengths=LENGTHS, most_tokens=st.integers(1, 500))
def test_every_name_is_in_one_place_of_its_length(lengths: list[int], most_tokens: int) -> None:
    bins = [alike for one in pack(lengths, most_tokens) for alike in one]
    names = [name for alike in bins for members in alike.members for name in members]
    assert sorted(names) == list(range(len(lengths)))
    for alike in bins:
        for members in alike.members:
            assert tuple(lengths[name] for name in members) == alike.lengths


@given(lengths=LENGTHS, most_tokens=st.integers(1, 500))
def test_a_pack_is_small_or_one_bin(lengths: list[int], most_tokens: int) -> None:
    for bins in pack(lengths, most_tokens):
        tokens = sum(alike.tokens for alike in bins)
        assert tokens <= most_tokens or sum(len(alike.members) for alike in bins) == 1


def test_a_thousand_names_need_few_masks() -> None:
    bins = pack([3 + i % 5 for i in range(1000)], most_tokens=10**6)[0]
    assert len(bins) < 12
