"""Token counts of the protocol."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from craft_zoo.protocol.tokens import TokenRule


@pytest.mark.parametrize(
    ("size", "tokens"), [((1, 1), 1), ((32, 32), 1), ((33, 32), 2), ((224, 256), 56)]
)
def test_an_image_has_a_token_for_each_square(size: tuple[int, int], tokens: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    assert TokenRule().of_image(file.getvalue()) == TokenRule().of_size(*size) == tokens
    assert TokenRule(image=85).of_image(file.getvalue()) == TokenRule(image=85).of_size(1, 1) == 85


def test_texts_are_rounded_up_each() -> None:
    rule = TokenRule()
    assert [rule.of_text("x" * length) for length in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert [rule.of_text(text) for text in ("é", "猫", "一只猫的照片")] == [1, 1, 5]
    assert rule.of_text("A. a\nB. b") == 6  # two letters and a full stop a line
    assert rule.of_question("12345", ["1", "12345"]) == 8 + 2 + (1 + 1) + (1 + 2)
    assert TokenRule(characters=2, question=0, option=0).of_question("123", ["1"]) == 3
