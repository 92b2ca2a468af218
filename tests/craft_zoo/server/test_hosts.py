"""Metrics are served only under hosts that a stranger's web page cannot imitate."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from craft_zoo.server.errors import Refusal
from craft_zoo.server.routes.operations import check_host


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3", "localhost:80", "LOCALHOST."),
        *("craft-zoo", "metrics.example.org", "METRICS.example.org.:9090", socket.gethostname()),
    ],
)
def test_hosts_of_the_owner(host: str) -> None:
    check_host(host, ["Metrics.Example.org"])


@pytest.mark.parametrize(
    "host", ["", "evil.example.org", "127.0.0.1.evil.org:8000", "a.b", ":80", "[::1", "x@evil.org"]
)
def test_hosts_of_strangers(host: str) -> None:
    with pytest.raises(Refusal, match="--metrics-host") as refused:
        check_host(host, ["metrics.example.org"])
    assert refused.value.status == 403


def test_the_route_looks_at_it(serve: Callable[..., Any]) -> None:
    client = serve(metrics_hosts=("metrics.example.org",)).client
    for host, status in (("127.0.0.1", 200), ("metrics.example.org", 200), ("evil.org", 403)):
        answer = client.get("/metrics", headers={"Host": host})
        assert answer.status_code == status
        assert ("craft_zoo_requests_total" in answer.text) == (status == 200)
    assert client.get("/healthz", headers={"Host": "evil.org"}).status_code == 200
