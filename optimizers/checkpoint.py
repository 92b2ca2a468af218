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
            optimizer.evaluations = about["evaluations"]
            if "best" in state:
                optimizer._told_best = Best(np.array(state["best"]), about["best"])
            optimizer._worst = about.get("worst", -math.inf)
            optimizer._resume(state)
            if "rows" in state:
                _resume_rows(optimizer, state)
            return optimizer
        sizes, losses = state["generations"], np.asarray(state["losses"], dtype=np.float64)
        outputs = state.get("outputs")
        checksum = about["checksum"]
        events = np.stack([np.full(len(sizes), TELL), sizes], axis=1)
        events = np.asarray(state.get("journal", events))
        counts = np.select([np.isin(events[:, 0], (TELL, ADD))], [events[:, 1]], 1)
        told = counts[np.isin(events[:, 0], (TELL, ROW, LATE, ADD))].sum()
        if told != len(losses) or np.isinf(losses).any():  # NaN: a failed evaluation
            raise ValueError("its losses are incomplete")
    except OptimizerError:
        raise
    except Exception as error:
        raise OptimizerError(
            f"the optimizer's state cannot be read ({error}): it is damaged, start a new search"
        ) from None
    told = iter(losses)
    added = iter(state.get("added", ()))
    shown = iter([] if outputs is None else outputs)

    def take(count: int) -> tuple[list[float], list[np.ndarray] | None]:
        return list(islice(told, count)), None if outputs is None else list(islice(shown, count))

    try:
        for op, number in events.tolist():
            _extend(optimizer, extensions)
            if op in (TELL, ASK, ROW) and optimizer._asked is None:
                optimizer.ask()
            if op == TELL:
                candidates = optimizer.ask()[:number]
                if len(candidates) < number:
                    raise _other_search(about["spec"])
                optimizer.tell(candidates, *take(number))
            elif op == AHEAD:
                optimizer._draw_ahead(number)
            elif op == ADD:
                optimizer.add(np.stack(list(islice(added, number))), *take(number))
            elif op != ASK:
                rows = optimizer._ahead if op == LATE else optimizer._asked
                (loss,), output = take(1)
                optimizer.tell(rows[number], loss, output and output[0])  # type: ignore
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, OptimizerError):
            raise
        raise _other_search(about["spec"]) from error
    _extend(optimizer, extensions)
    if optimizer._event_log.checksum != checksum:
        raise _other_search(about["spec"])
    optimizer._to_hand = list(optimizer._ahead)
    return optimizer


def _extend(optimizer: Optimizer, extensions: list[tuple[int, int]]) -> None:
    while extensions and extensions[0][0] == optimizer.evaluations:
        optimizer.extend(extensions.pop(0)[1])


def _resume_rows(optimizer: Optimizer, state: Mapping[str, np.ndarray]) -> None:
    """Take over the losses that were told of an incomplete generation."""
    optimizer.ask()
    outputs = state.get("row_outputs")
    for i, (row, loss) in enumerate(zip(state["rows"], state["row_losses"], strict=True)):
        output = None if outputs is None else np.array(outputs[i])
        optimizer._answers[int(row)] = float(loss), output
    optimizer.evaluations += len(optimizer._answers)


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
