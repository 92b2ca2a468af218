"""Retries: how often, how long, and the final message."""

from __future__ import annotations

import logging
import threading
import time as clock
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from craft_zoo.client import Retrying, Transient
from craft_zoo.client.retrying import Stopped, seconds_of
from craft_zoo.errors import CraftZooError


class Failing:
    """Fails a given number of times."""

    def __init__(self, times: int, after: float = 0.0, **about: Any) -> None:
        self.left, self.after, self.about, self.made = times, after, about, 0

    def __call__(self) -> str:
        self.made += 1
        if self.made <= self.left:
            raise Transient("gone", self.after, **self.about)
        return "answer"


def test_pauses_double_up_to_the_longest(time: Any) -> None:
    assert time.retrying(first=1.0, longest=5.0)(Failing(5), "server x") == "answer"
    assert time.slept == [0.5, 1, 2, 2.5, 2.5]


def test_nobody_comes_back_before_they_are_asked_to(time: Any) -> None:
    assert time.retrying(first=1.0)(Failing(2, after=7.0), "server x") == "answer"
    assert time.slept == [7.5, 8]


def test_the_end_of_time_and_of_attempts(time: Any) -> None:
    sentence = r"server x did not answer for \d+ s \(gone; \d+ attempts\): rerun the same command"
    with pytest.raises(CraftZooError, match=sentence):
        time.retrying(seconds=30)(Failing(100), "server x")
    assert 15 < time.now <= 30
    failing = Failing(100)
    with pytest.raises(CraftZooError, match=r"gone; 3 attempts"):
        time.retrying(attempts=3)(failing, "server x")
    assert failing.made == 3


def test_who_asks_for_more_patience_than_there_is_gets_none(time: Any) -> None:
    failing = Failing(5, after=3600.0)
    with pytest.raises(CraftZooError, match=r"gone, which asks to wait 3600 s; 1 attempt\)"):
        time.retrying(seconds=60)(failing, "server x")
    assert failing.made == 1
    assert not time.slept


def test_an_address_that_never_answered_is_given_up_sooner(time: Any) -> None:
    sentence = r"x did not answer for \d+ s \(gone; \d+ attempts\), and never has: check the addr"
    with pytest.raises(CraftZooError, match=sentence):
        time.retrying()(Failing(100, unheard=True), "server x")
    assert 10 < time.now <= 30
    with pytest.raises(CraftZooError, match="allow at least one attempt and no negative time"):
        Retrying(seconds=-1)


def test_what_seldom_passes_is_tried_a_few_times(time: Any) -> None:
    failing = Failing(100, attempts=3)
    sentence = r"x gives no usable answer \(gone; 3 attempts\): check the address"
    with pytest.raises(CraftZooError, match=sentence):
        time.retrying()(failing, "server x")
    assert failing.made == 3
    assert time.retrying()(Failing(2, attempts=3), "server x") == "answer"


def test_nobody_asks_for_an_answer_that_nobody_waits_for() -> None:
    stop, failing = threading.Event(), Failing(100, after=100.0)
    timer = threading.Timer(0.05, stop.set)
    began = clock.monotonic()
    timer.start()
    with pytest.raises(Stopped):
        Retrying()(failing, "server x", stop)
    assert clock.monotonic() - began < 5
    with pytest.raises(Stopped):
        Retrying()(failing, "server x", stop)
    assert failing.made == 1


def test_the_log_tells_long_waits_and_does_not_repeat_itself(
    time: Any, caplog: pytest.LogCaptureFixture
) -> None:
    retrying = time.retrying(first=1.0)
    with caplog.at_level(logging.WARNING, "craft_zoo.blackbox"):
        retrying(Failing(3), "server y")
        assert time.slept == [0.5, 1, 2]
        assert not caplog.messages
        retrying(Failing(4), "server z")
        assert caplog.messages == ["waiting 4 s for server z (gone)"]
        caplog.clear()
        for _ in range(3):  # as threads that wait for the same
            retrying(Failing(2, after=19.5), "server x")
        retrying(Failing(2, after=19.5), "server y")
    assert caplog.messages == [f"waiting 20 s for server {name} (gone)" for name in "xy"]


def test_other_errors_pass() -> None:
    def attempt() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        Retrying()(attempt, "server x")


@given(failures=st.integers(0, 40), draw=st.floats(0, 1), longest=st.floats(0.5, 60))
def test_no_pause_is_longer_than_the_longest(failures: int, draw: float, longest: float) -> None:
    slept: list[float] = []
    retrying = Retrying(
        longest=longest, sleep=slept.append, draw=lambda: draw, clock=lambda: sum(slept)
    )
    try:
        retrying(Failing(failures), "server x")
    except CraftZooError:
        assert sum(slept) + longest > retrying.seconds
    assert all(0 <= pause <= longest for pause in slept)
    assert sum(slept) <= retrying.seconds


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "soon", "-1", "nan", "inf", "1e", "٣", "Wed, 21 Oct 2015 07:28 G"),
        "Wed, 21 Oct 2015 07:28:00 +99999999999999",
    ],
)
def test_a_retry_after_that_says_nothing(text: str | None) -> None:
    assert seconds_of(text) == 0


@pytest.mark.parametrize(
    "text",
    ["1e9", "10000000000", "9" * 5000, "1E+999", "Fri, 31 Dec 9999 23:59:59 GMT"],
)
def test_a_retry_after_that_is_huge_means_long(text: str) -> None:
    assert seconds_of(text) == 1e9
    with pytest.raises(CraftZooError, match="which asks to wait 1000000000 s; 1 attempt"):
        Retrying()(Failing(1, seconds_of(text)), "server x")


def test_a_retry_after_in_seconds_or_as_a_date() -> None:
    assert seconds_of("120") == 120
    assert seconds_of(" 0.25 ") == 0.25
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < seconds_of(later) <= 100
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
