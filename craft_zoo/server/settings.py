"""Settings of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from craft_zoo.errors import CraftZooError
from craft_zoo.server.accounts import Accounts
from craft_zoo.server.limits import Limits

Answers = Literal["logits", "log_probabilities"]
_MOST_DECIMALS = 12


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a server.

    Attributes:
        accounts: accounts that may query the model.
        state: folder of the bills and stored answers; None: they are kept in memory only.
        answers: whether scores are logits or log-probabilities.
        top_k: number of largest scores of each row that are returned unchanged, see
            :func:`craft_zoo.server.returned_scores.scores_to_return`; None: all.
        max_batch: maximum number of texts (prompts × classes), or of images to classify, for which
            several requests share one call; 1: each request has a call of its own.
        limits: limits on requests and memory.
        name: name of the model that clients see; None: its own, without folders.
        decimals: decimals to which the answers to typed questions (decisions, System One) are
            rounded.
        embeddings: whether ``POST /v1/embeddings`` returns features of images and texts.
        metrics_hosts: host names under which metrics are served, besides IP addresses, names
            without dots and this machine's own name.
    """

    accounts: Accounts
    state: Path | None = None
    answers: Answers = "logits"
    top_k: int | None = None
    max_batch: int = 1024
    limits: Limits = field(default_factory=Limits)
    name: str | None = None
    metrics_hosts: tuple[str, ...] = ()
    decimals: int = 6
    embeddings: bool = False

    def __post_init__(self) -> None:
        if self.answers not in ("logits", "log_probabilities"):
            raise CraftZooError(
                f"the server cannot answer with {self.answers!r}: say logits or log_probabilities"
            )
        if self.top_k is not None and self.top_k < 1:
            raise CraftZooError(f"top_k must be at least 1, not {self.top_k}")
        if self.top_k is not None and self.answers == "logits":
            raise CraftZooError(
                "top_k does not protect logits, as those of few classes at a time add up to all: "
                "answer with log-probabilities, or leave out top_k"
            )
        if not 1 <= self.decimals <= _MOST_DECIMALS:
            raise CraftZooError(
                f"probabilities cannot be rounded to {self.decimals} decimals: choose a number "
                f"from 1 to {_MOST_DECIMALS}"
            )
        if self.max_batch < 1:
            raise CraftZooError(f"a batch must have at least 1 text, not {self.max_batch}")
