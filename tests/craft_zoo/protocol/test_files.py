"""Encoding of files in the protocol."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import decode_files, digest, encode_files


@given(st.dictionaries(st.integers(0, 10**9 - 1), st.binary(max_size=50), max_size=8))
def test_files_come_back_by_number(files: dict[int, bytes]) -> None:
    back = decode_files(encode_files(files))
    assert back == files
    assert list(back) == sorted(files)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "safetensors"),
        (b"\xff" * 100, "safetensors"),
        ((5).to_bytes(8, "little") + b"hello", "safetensors"),
        (encode_files({3: b"abc"})[:-1], "safetensors"),
        (safetensors.numpy.save({"x": np.zeros(3, np.uint8)}), "'x' is not named by a number"),
        (safetensors.numpy.save({"-1": np.zeros(3, np.uint8)}), "'-1' is not named by a number"),
        (safetensors.numpy.save({"٣": np.zeros(3, np.uint8)}), "not named by a number"),
        (safetensors.numpy.save({"9" * 30: np.zeros(3, np.uint8)}), "not named by a number"),
        (safetensors.numpy.save({"007": np.zeros(3, np.uint8)}), "name it 7"),
        (safetensors.numpy.save({"0": np.zeros((3, 1), np.uint8)}), "not a row of bytes"),
        (safetensors.numpy.save({"0": np.zeros(3, np.int8)}), "not a row of bytes"),
    ],
)
def test_what_is_no_set_of_files_is_a_sentence(body: bytes, said: str) -> None:
    with pytest.raises(CraftZooError, match=said) as caught:
        decode_files(body)
    assert "\n" not in str(caught.value)


def test_a_header_that_is_all_there_is_is_refused_unread() -> None:
    about = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(number): about for number in range(30_000)}).encode()
    with pytest.raises(CraftZooError, match="too many files"):
        decode_files(len(header).to_bytes(8, "little") + header)


@given(st.binary(max_size=200))
def test_garbage_is_never_another_error(content: bytes) -> None:
    with pytest.raises(CraftZooError):
        decode_files(len(content).to_bytes(8, "little") + content + b"!")


def test_a_digest_is_what_sha256sum_prints() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
