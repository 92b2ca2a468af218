"""How a model is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from craft_zoo.errors import CraftZooError
from craft_zoo.server.accounts import Accounts
from craft_zoo.server.limits import Limits

Answers = Literal["logits", "log_probabilities"]


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served.

    Attributes:
        accounts: who may ask.
        state: folder for the bills and the answers; None: they are lost with the process.
        answers: what is answered.
        top_k: so many of a row's entries are told apart; None: all.
        max_batch: texts (prompts × classes) of several requests that are scored in one call; 1:
            never several requests.
        limits: what is taken at the most.
        name: what the model is called; None: as it calls itself.
        metrics_hosts: host names under which the metrics may be asked for, beside IP addresses,
            names without dots and this machine's own.
    """

    accounts: Accounts
    state: Path | None = None
    answers: Answers = "logits"
    top_k: int | None = None
    max_batch: int = 1024
    limits: Limits = field(default_factory=Limits)
    name: str | None = None
    metrics_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.answers not in ("logits", "log_probabilities"):
            raise CraftZooError(
                f"the server cannot answer with {self.answers!r}: say logits or log_probabilities"
            )
        if self.top_k is not None and self.top_k < 1:
            raise CraftZooError(f"the best {self.top_k} of a row are none: set top_k to 1 or more")
        if self.top_k is not None and self.answers == "logits":
            raise CraftZooError(
                "logits of the best K classes tell those of all, asked about in small groups: "
                "answer with log-probabilities, or leave out top_k"
            )
        if self.max_batch < 1:
            raise CraftZooError(f"a batch must have at least 1 text, not {self.max_batch}")
