"""Error codes and paths of the protocol."""

from __future__ import annotations

from craft_zoo.protocol import API, ErrorCode, paths


def test_every_error_has_a_status() -> None:
    assert all(400 <= code.status < 600 for code in ErrorCode)
    assert ErrorCode("busy").status == 503


def test_paths_of_the_interface_carry_its_version() -> None:
    assert API == "/v1"
    assert paths.SCORES.format(id="x") == "/v1/classifiers/x/scores"
