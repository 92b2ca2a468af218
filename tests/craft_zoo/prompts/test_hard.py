"""Prompts in words, chosen from lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.optimizers import Space
from craft_zoo.prompts import HardSpace

SPACE = HardSpace(
    ["a photo of a {}, a type of pet.", "this is", "a photo of a {}, a type of pet."],
    ["red", "huge", "red"],
    words=2,
)


def test_lists_without_repetition_and_a_start_at_the_origin() -> None:
    assert SPACE.templates == ("a photo of a {}, a type of pet.", "this is {}.")
    assert SPACE.variables == Space(5, choices=[2, 3, 3, 3, 3])
    assert SPACE.prompts(np.zeros((1, 5))) == [SPACE.start] == ["a photo of a {}, a type of pet."]


def test_words_stand_on_their_sides_of_the_class_name() -> None:
    assert SPACE.prompts(np.array([[0, 1, 2, 0, 1], [1, 0, 2, 0, 0]])) == [
        "a photo of a red huge {} red, a type of pet.",
        "this is huge {}.",
    ]


@given(st.tuples(*[st.integers(0, int(count) - 1) for count in SPACE.variables.choices]))
def test_each_candidate_is_a_template_without_stray_spaces(candidate: tuple[int, ...]) -> None:
    [template] = SPACE.prompts(np.array([candidate], dtype=float))
    assert template.count("{}") == 1
    assert " ".join(template.split()) == template


def test_each_class_may_have_words_of_its_own() -> None:
    space = HardSpace(["a photo of a", "this is"], ["red", "huge"], words=1, n_classes=3)
    assert space.variables == Space(9, blocks=3, choices=3 * [2, 3, 3])
    [prompts] = space.prompts(np.array([[0, 0, 0, 1, 1, 0, 0, 0, 2]]))
    assert prompts == ("a photo of a {}.", "this is red {}.", "a photo of a {} huge.")
