"""Restoring an optimizer from its state, by replaying recorded losses or from a snapshot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Best, Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.event_log import ADD, AHEAD, ASK, LATE, ROW, TELL
from craft_zoo.optimizers.registry import create
from craft_zoo.optimizers.space import Space


def restore(state: Mapping[str, np.ndarray]) -> Optimizer:
    """Recreate an optimizer from :meth:`Optimizer.state`; its next ask continues the search.

    The optimizer is created anew and the recorded losses are replayed, so nothing is unpickled; a
    checksum verifies that its candidates are the same. This takes the optimizer's own computing
    time of the search so far, but no evaluations. Optimizers with :attr:`Optimizer.snapshots` are
    restored from arrays instead. Set :attr:`Optimizer.output_loss` again if it is needed.

    Args:
        state: as returned, or ``np.load`` of a file made with ``np.savez(path, **state)``.

    Raises:
        OptimizerError: the state is damaged, or the replayed search asks for other candidates (for
            example with another version of a library).
    """
    try:
        about = json.loads(str(state["about"]))
        optimizer = create(
            about["spec"],
            _space(about, state),
            budget=about["budget"],
            seed=about["seed"],
            **about["options"],
        )
        extensions = about.get("extensions", [])
        if optimizer.snapshots:
            for _, more in extensions:
                optimizer.extend(more)
            _resume(optimizer, about, state)
            return optimizer
        recorded, checksum = _Recorded(state), about["checksum"]
    except OptimizerError:
        raise
    except Exception as error:
        raise OptimizerError(
            f"the optimizer's state cannot be read ({error}): it is damaged, start a new search"
        ) from None
    other = _other_search(about["spec"])
    try:
        for op, number in recorded.events:
            _extend(optimizer, extensions)
            _repeat(optimizer, op, number, recorded)
        _extend(optimizer, extensions)
    except OptimizerError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise other from error
    if optimizer._event_log.checksum != checksum:
        raise other
    optimizer._awaited.to_hand = list(optimizer._awaited.ahead)
    return optimizer


class _Recorded:
    """The events of a search, and the losses, outputs and added points that belong to them.

    Args:
        state: see :func:`restore`.

    Attributes:
        events: kind, and a count or a place.

    Raises:
        ValueError: losses are missing, or there are too many.
    """

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        sizes, losses = state["generations"], np.asarray(state["losses"], dtype=np.float64)
        whole = np.stack([np.full(len(sizes), TELL), sizes], axis=1)
        events = np.asarray(state.get("journal", whole))
        counts = np.select([np.isin(events[:, 0], (TELL, ADD))], [events[:, 1]], 1)
        told = counts[np.isin(events[:, 0], (TELL, ROW, LATE, ADD))].sum()
        if told != len(losses) or np.isinf(losses).any():  # NaN: a failed evaluation
            raise ValueError("its losses are incomplete")
        self.events: list[list[int]] = events.tolist()
        outputs = state.get("outputs")
        self._losses, self._added = iter(losses), iter(state.get("added", ()))
        self._outputs = None if outputs is None else iter(outputs)

    def losses(self, count: int) -> tuple[list[float], list[np.ndarray] | None]:
        """The next losses, with their outputs if these were recorded."""
        outputs = None if self._outputs is None else list(islice(self._outputs, count))
        return list(islice(self._losses, count)), outputs

    def points(self, count: int) -> np.ndarray:
        """(count, d) the next points that were added."""
        return np.stack(list(islice(self._added, count)))


def _repeat(optimizer: Optimizer, op: int, number: int, recorded: _Recorded) -> None:
    """Repeat an event.

    Raises:
        LookupError: the optimizer asks for fewer candidates than were told.
    """
    if op in (TELL, ASK, ROW) and optimizer._awaited.generation is None:
        optimizer.ask()
    if op == TELL:
        candidates = optimizer.ask()[:number]
        if len(candidates) < number:
            raise LookupError(f"{len(candidates)} candidates of {number}")
        optimizer.tell(candidates, *recorded.losses(number))
    elif op == AHEAD:
        optimizer._draw_ahead(number)
    elif op == ADD:
        optimizer.add(recorded.points(number), *recorded.losses(number))
    elif op != ASK:
        # By its place, as other candidates may be equal to it.
        losses, outputs = recorded.losses(1)
        values = optimizer._checked(1, losses, outputs)
        optimizer._keep_order()
        optimizer._tell_one(op, number, values, outputs and outputs[0])


def _extend(optimizer: Optimizer, extensions: list[tuple[int, int]]) -> None:
    while extensions and extensions[0][0] == optimizer.evaluations:
        optimizer.extend(extensions.pop(0)[1])


def _resume(
    optimizer: Optimizer, about: Mapping[str, Any], state: Mapping[str, np.ndarray]
) -> None:
    """Restore an optimizer from its snapshot, and the losses told of an incomplete generation."""
    optimizer.evaluations = about["evaluations"]
    if "best" in state:
        optimizer._told_best = Best(np.array(state["best"]), about["best"])
    optimizer._worst = about.get("worst", -math.inf)
    optimizer._resume(state)
    if "rows" not in state:
        return
    outputs = state.get("row_outputs")
    for i, (row, loss) in enumerate(zip(state["rows"], state["row_losses"], strict=True)):
        output = None if outputs is None else np.array(outputs[i])
        optimizer._awaited.answers[int(row)] = float(loss), output
    optimizer.evaluations += len(optimizer._awaited.answers)


def _space(about: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Space:
    if "space" in about:
        return Space(**about["space"])
    # In states of versions without Space, logit-gn and columns stored the blocks themselves.
    own = [json.loads(str(state[key])) for key in ("logit_gn", "columns_about") if key in state]
    blocks = own[0]["blocks"] if own else 1
    return Space(about["dim"], blocks=blocks, choices=about.get("choices"))


def _other_search(spec: str) -> OptimizerError:
    return OptimizerError(
        f"given the saved losses, {spec!r} now asks for other candidates than in the saved search: "
        f"use the package versions and machine of that search, or start a new one"
    )
