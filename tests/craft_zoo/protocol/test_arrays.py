"""Encoding of arrays in the protocol."""

from __future__ import annotations

import io
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from craft_zoo.errors import CraftZooError
from craft_zoo.protocol import decode_array, encode_array

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)  # type: ignore[call-overload]
    return file.getvalue()


def with_header(text: str, content: bytes = b"") -> bytes:
    header = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@given(arrays_of.arrays(np.float32, SHAPES))
def test_arrays_come_back_to_the_last_bit(array: np.ndarray) -> None:
    back = decode_array(encode_array(array))
    assert back.dtype == np.float32
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable
    assert back.flags.c_contiguous


def test_what_is_written_is_what_numpy_reads_and_the_other_way_round() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(np.load(io.BytesIO(encode_array(array)), allow_pickle=False), array)
    assert np.array_equal(decode_array(npy(array)), array)
    assert np.array_equal(decode_array(encode_array(array.T)), array.T)  # made C's order first


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an .npy file"),
        (b"PK\x03\x04 a zip file", "not an .npy file"),
        (b"\x93NUMPY\x09\x00", "not an .npy file"),
        (with_header("{'descr': '<f4', "), "not an .npy file"),
        (
            with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)" + "(" * 9000),
            "not an .npy file",
        ),
        (npy(np.zeros((2, 3))), "float64"),
        (npy(np.zeros((2, 3), ">f4")), ">f4"),
        (npy(np.zeros((2, 3), np.float16)), "float16"),
        (npy(np.asfortranarray(np.zeros((2, 3), np.float32))), "Fortran"),
        (npy(np.array([{}, "x"], dtype=object), allow_pickle=True), "object"),
        (pickle.dumps([1.0]), "not an .npy file"),
        (npy(np.zeros((2, 3), np.float32))[:-1], "promises 6 numbers"),
        (npy(np.zeros((2, 3), np.float32)) + b"0000", "promises 6 numbers and 7 follow"),
        (
            with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }", b"0" * 8),
            "shape is invalid",
        ),
        (
            with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {(1,) * 40}, }}"),
            "shape is invalid",
        ),
        *(
            (
                with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"),
                "too large",
            )
            for shape in ((0, 10**30), (0, 2**40, 2**40))
        ),
    ],
)
def test_what_is_no_float32_array_is_a_sentence(body: bytes, said: str) -> None:
    with pytest.raises(CraftZooError, match=said) as caught:
        decode_array(body)
    assert "\n" not in str(caught.value)


def test_an_array_of_terabytes_is_refused_before_it_is_allocated() -> None:
    body = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4), }")
    tracemalloc.start()
    with pytest.raises(CraftZooError, match="promises 4,398,046,511,104 numbers and 0 follow"):
        decode_array(body)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_never_another_error(content: bytes, has_magic: bool) -> None:
    with pytest.raises(CraftZooError):
        decode_array((b"\x93NUMPY\x01\x00" if has_magic else b"") + content)
