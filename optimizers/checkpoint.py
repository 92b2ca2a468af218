"""Continue a search from its state: the record of what was told, replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import create


def restore(state: Mapping[str, np.ndarray]) -> Optimizer:
    """The optimizer that :meth:`Optimizer.state` describes, ready to be asked.

    It is made anew and told the same losses, so nothing is unpickled; a checksum over all it asks
    for on the way makes sure that it is the same search. Costs the optimizer's own time of the
    search so far, and no evaluation. Optimizers that learn from outputs may be put back from
    arrays of their own instead; set their :attr:`Optimizer.output_loss` again.

    Args:
        state: as returned, or ``np.load`` of a file made with ``np.savez(path, **state)``.

    Raises:
        OptimizerError: the state is damaged, or of an optimizer that behaves otherwise here
            (another version of its library).
    """
    try:
        about = json.loads(str(state["about"]))
        optimizer = create(
            about["spec"],
            about["dim"],
            budget=about["budget"],
            seed=about["seed"],
            **about["options"],
        )
        if about.get("choices") is not None:
            optimizer.choices = np.array(about["choices"])
        if optimizer.snapshots:
            optimizer.evaluations = about["evaluations"]
            optimizer._resume(state)
            return optimizer
        sizes, losses = state["generations"], np.asarray(state["losses"], dtype=np.float64)
        outputs = state.get("outputs")
        checksum = about["checksum"]
        if sizes.sum() != len(losses) or np.isinf(losses).any():  # NaN: the evaluation failed
            raise ValueError("its losses are incomplete")
    except OptimizerError:
        raise
    except Exception as error:
        raise OptimizerError(
            f"the optimizer's state cannot be read ({error}): it is damaged, start a new search"
        ) from None
    first = 0
    for size in sizes.tolist():
        rows = slice(first, first + size)
        candidates = optimizer.ask()[:size]
        if len(candidates) < size:
            raise _other_search(about["spec"])
        optimizer.tell(candidates, losses[rows], None if outputs is None else list(outputs[rows]))
        first += size
    if optimizer._checksum != checksum:
        raise _other_search(about["spec"])
    return optimizer


def _other_search(spec: str) -> OptimizerError:
    return OptimizerError(
        f"the state is of a search that {spec!r} does not repeat here: "
        f"use the package versions and machine that it was made with, or start a new search"
    )
