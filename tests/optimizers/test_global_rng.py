"""Swapping an optimizer's own state into numpy's global generator and back."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_zoo.optimizers import create
from craft_zoo.optimizers.global_rng import GlobalGenerator

DRAWS = {
    "nothing": lambda: 0.0,
    "uniform": lambda: np.random.random(),  # looked up at each call, as libraries do
    "normal": lambda: np.random.standard_normal(),  # every second one comes from the first's pair
    "many": lambda: float(np.random.standard_normal(701).sum()),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab "), st.sampled_from(sorted(DRAWS)), st.booleans()),
        max_size=25,
    )
)
def test_each_has_a_generator_of_its_own(script: list[tuple[str, str, bool]]) -> None:
    """Two borrowers and the outside draw by turns what each would draw alone."""
    borrowers = {"a": GlobalGenerator(1), "b": GlobalGenerator(2)}
    np.random.seed(3)
    drawn: dict[str, list[float]] = {"a": [], "b": [], " ": []}
    for who, what, keep in script:
        if who == " ":
            drawn[who].append(DRAWS[what]())
        else:
            with borrowers[who].swapped_in(keep=keep):
                value = DRAWS[what]()
            drawn[who] += [value] if keep else []
    for seed, who in ((1, "a"), (2, "b"), (3, " ")):
        np.random.seed(seed)
        kept = [what for name, what, keep in script if name == who and (keep or who == " ")]
        assert drawn[who] == [DRAWS[what]() for what in kept]


def test_after_an_error_the_outside_is_as_before() -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    borrower = GlobalGenerator(1)

    def fail() -> None:
        with borrower.swapped_in():
            np.random.random(7)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert np.array_equal(np.random.random(3), expected)


@pytest.fixture
def another_generator() -> Iterator[np.random.BitGenerator]:
    """numpy's global functions draw from a PCG64."""
    before = np.random.get_bit_generator()
    other = np.random.PCG64(1)
    np.random.set_bit_generator(other)
    yield other
    np.random.set_bit_generator(before)


def test_another_kind_of_global_generator_is_put_aside(
    another_generator: np.random.BitGenerator,
) -> None:
    state = another_generator.state
    with GlobalGenerator(4).swapped_in():
        inside = np.random.random(3)
    assert np.random.get_bit_generator() is another_generator
    assert another_generator.state == state
    assert np.array_equal(inside, np.random.RandomState(4).random(3))


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Makes threads switch after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def searched(name: str, seed: int) -> np.ndarray:
    """All candidates of a nevergrad optimizer on a sphere."""
    optimizer, asked = create(f"nevergrad:{name}", 5, budget=60, seed=seed), []
    while not optimizer.stop:
        asked.append(optimizer.ask())
        optimizer.tell(asked[-1], ((asked[-1] - 0.5) ** 2).sum(axis=1))
    return np.concatenate(asked)


@pytest.mark.usefixtures("often_switched")
@pytest.mark.parametrize(
    "name", ["LognormalDiscreteOnePlusOne", "TwoPointsDE", "MultiCobyla", "MultiDS", "CmaFmin2"]
)
def test_searches_in_threads_are_those_alone_and_nobody_else_notices(name: str) -> None:
    alone = [searched(name, seed) for seed in range(3)]
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: searched(name, seed)}))
        for seed in range(3)
    ]
    expected = np.random.RandomState(7)
    np.random.seed(7)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert np.random.random() == expected.random()
        assert np.random.mtrand._rand.standard_normal() == expected.standard_normal()
    assert all(np.array_equal(found[seed], alone[seed]) for seed in range(3))


def test_a_search_that_is_left_lets_the_program_end() -> None:
    optimizer = create("nevergrad:Cobyla", 2, budget=60, seed=1)
    optimizer.ask()
    left = [each for each in threading.enumerate() if "nevergrad" in type(each).__module__]
    assert left
    assert all(each.daemon for each in left)


def test_another_thread_that_seeds_waits_and_what_it_copies_is_its_own() -> None:
    np.random.seed(3)
    seen: list[float] = []

    def bystander() -> None:
        copied = pickle.loads(pickle.dumps(np.random.mtrand._rand))
        seen.append(copied.random())
        seen.append(np.random.random())
        np.random.seed(9)

    thread = threading.Thread(target=bystander)
    with GlobalGenerator(1).swapped_in():
        inside = np.random.random()
        thread.start()
        while len(seen) < 2:
            thread.join(0.001)
        np.random.seed(5)  # its own
    thread.join()
    assert seen == [np.random.RandomState(3).random()] * 2
    assert inside == np.random.RandomState(1).random()
    assert np.random.random() == np.random.RandomState(9).random()
