"""Categorical optimizer that recombines observed output columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import check_at_least
from craft_zoo.optimizers.registry import register
from craft_zoo.optimizers.space import Space

_HUGE = 1e18  # squares of larger outputs would overflow float32
_ATTEMPTS = 20  # draws until a proposal for a block is new; the last one is taken anyway
_LOOKS = 5  # columns per block whose loss is computed, those with the best bound
_ROUNDS = 4  # maximum number of passes over all blocks


@register("columns")
class Columns(Optimizer):
    """Coordinate descent over observed output columns, without further queries (ours).

    If column b of the outputs depends on block b of the choices alone, one candidate tests an
    alternative for every block at once. The observed columns are kept. After each generation,
    coordinate descent exchanges the column of one block at a time while the loss decreases. The
    loss is convex, so its gradient bounds how much a column can reduce it. The resulting
    combination, the assembly, is the first candidate of the next generation; it is recommended if
    its measured loss is the least.

    The optimizer needs outputs and a convex :attr:`Optimizer.output_loss`.

    Args:
        popsize: candidates a generation.
        pool: maximum number of columns that are remembered for each block.
        near: share of the proposals that change a single choice of the block's best.
    """

    uses_choices = True
    needs_choices = True
    uses_blocks = True
    learns_from_outputs = True
    needs_output_loss = True
    snapshots = True

    def __init__(
        self,
        space: Space | int,
        *,
        popsize: int = 10,
        pool: int = 100,
        near: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        check_at_least(self.name, 1, popsize=popsize)
        check_at_least(self.name, 2, pool=pool)
        if not 0 <= near <= 1:
            raise OptimizerError(
                f"option 'near' of {self.name!r} must be between 0 and 1, not {near}"
            )
        self.popsize, self._most, self._near = popsize, pool, near
        self._deployed = np.zeros(self.dim)
        self._outputs: np.ndarray | None = None  # (B, n) of the recommended candidate
        self._assembled: np.ndarray | None = None  # (d,) the next first candidate
        self._choices = np.zeros((self.blocks, 0, self.dim // self.blocks), np.int64)  # (B, K, d/B)
        self._columns = np.zeros((self.blocks, 0, 0), np.float32)  # (B, K, n)
        self._tried: list[set[bytes]] = [set() for _ in range(self.blocks)]
        self._shape: tuple[int, ...] = ()
        self._rng_before: dict[str, Any] = {}

    def recommend(self) -> np.ndarray:
        """The evaluated candidate with the least current ``output_loss``."""
        return self._deployed.copy()

    def _ask(self) -> np.ndarray:
        self._rng_before = dict(self.rng.bit_generator.state)
        first = self._deployed if self._outputs is None else self._assembled
        rows = [] if first is None else [first]
        rows += [self._proposal() for _ in range(self.popsize - len(rows))]
        return np.stack(rows)

    def _proposal(self) -> np.ndarray:
        """(d,) a new alternative for every block."""
        assert self.choices is not None
        best = self._deployed if self._assembled is None else self._assembled
        parts = zip(
            best.astype(np.int64).reshape(self.blocks, -1),
            self.choices.reshape(self.blocks, -1),
            strict=True,
        )
        return np.concatenate([self._new(*part, block) for block, part in enumerate(parts)])

    def _new(self, best: np.ndarray, choices: np.ndarray, block: int) -> np.ndarray:
        tried = self._tried[block]
        for _ in range(_ATTEMPTS):
            drawn = self.rng.integers(0, choices)
            if self.rng.random() < self._near:
                proposal = best.copy()
                place = self.rng.integers(len(best))
                proposal[place] = drawn[place]
            else:
                proposal = np.where(self.rng.random(len(best)) < 0.5, drawn, 0)
            if proposal.tobytes() not in tried:
                break
        return proposal.astype(np.float64)

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        assert outputs is not None, "checked by tell"
        pieces = np.stack([self._pieces(each) for each in outputs])  # (k, B, n)
        good = ~self.failed & (np.abs(pieces) < _HUGE).all(axis=(1, 2))  # False for NaN too
        chosen = candidates.astype(np.int64).reshape(len(candidates), self.blocks, -1)
        for block in range(self.blocks):
            self._tried[block].update(row.tobytes() for row in chosen[:, block])
        good[good] = [math.isfinite(self._loss(each)[0]) for each in pieces[good]]
        if not good.any():
            return
        candidates, chosen, pieces = candidates[good], chosen[good], pieces[good]
        if not self._columns.shape[1]:
            self._columns = np.zeros((self.blocks, 0, pieces.shape[2]), np.float32)
        self._choices = np.concatenate([self._choices, chosen.transpose(1, 0, 2)], axis=1)
        self._columns = np.concatenate([self._columns, pieces.transpose(1, 0, 2)], axis=1)
        self._deploy(candidates, pieces)
        self._forget(*self._assemble())

    def _pieces(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (..., B) as (B, n); outputs of any shape as (1, n) if there is one block."""
        self._shape = outputs.shape
        if self.blocks == 1:
            return np.asarray(outputs, np.float32).reshape(1, -1)
        return np.asarray(outputs, np.float32).reshape(-1, self.blocks).T

    def _loss(self, pieces: np.ndarray) -> tuple[float, np.ndarray]:
        """The current loss of outputs (B, n), and its gradient (B, n)."""
        assert self.output_loss is not None, "checked by tell"
        whole = pieces.reshape(self._shape) if self.blocks == 1 else pieces.T.reshape(self._shape)
        loss, gradient = self.output_loss(np.ascontiguousarray(whole))
        return loss, self._pieces(gradient)

    def _deploy(self, candidates: np.ndarray, pieces: np.ndarray) -> None:
        """Recommend the evaluated candidate with the least current loss."""
        best = np.inf if self._outputs is None else self._loss(self._outputs)[0]
        for candidate, outputs in zip(candidates, pieces, strict=True):
            loss = self._loss(outputs)[0]
            if loss < best or self._outputs is None:
                best, self._deployed, self._outputs = loss, candidate.copy(), outputs

    def _assemble(self) -> tuple[np.ndarray, np.ndarray]:
        """Exchange columns while the loss decreases.

        Returns:
            The outputs (B, n) of the assembly, and the loss's gradient there.
        """
        assert self._outputs is not None, "set by _deploy"
        pieces = self._outputs.copy()
        chosen = self._deployed.reshape(self.blocks, -1).copy()
        loss, gradient = self._loss(pieces)
        changed = True
        for _ in range(_ROUNDS):
            if not changed:
                break
            changed = False
            for block in range(self.blocks):
                gains = (self._columns[block] - pieces[block]) @ gradient[block]
                for column in gains.argsort(kind="stable")[:_LOOKS]:
                    if gains[column] >= 0:  # convex: the loss cannot decrease
                        break
                    tried = pieces.copy()
                    tried[block] = self._columns[block, column]
                    new_loss, new_gradient = self._loss(tried)
                    if new_loss < loss:
                        pieces, loss, gradient, changed = tried, new_loss, new_gradient, True
                        chosen[block] = self._choices[block, column]
                        break
        assembled = chosen.ravel()
        new = not np.array_equal(assembled, self._deployed)
        self._assembled = assembled if new else None
        return pieces, gradient

    def _forget(self, pieces: np.ndarray, gradient: np.ndarray) -> None:
        """Keep the ``pool`` columns per block with the best first-order gain in the assembly."""
        if self._columns.shape[1] <= self._most:
            return
        gains = np.einsum("bkn,bn->bk", self._columns - pieces[:, None], gradient)
        kept = np.sort(gains.argsort(axis=1, kind="stable")[:, : self._most], axis=1)[..., None]
        self._choices = np.take_along_axis(self._choices, kept, axis=1)
        self._columns = np.take_along_axis(self._columns, kept, axis=1)

    def _snapshot(self) -> dict[str, np.ndarray]:
        rng = self.rng.bit_generator.state if self._awaited.generation is None else self._rng_before
        about = {
            "rng": rng,
            "shape": list(self._shape),
            "evaluated": self._outputs is not None,
            "assembled": None if self._assembled is None else self._assembled.tolist(),
            "tried": [sorted(each.hex() for each in seen) for seen in self._tried],
        }
        return {
            "columns_about": np.array(json.dumps(about)),
            "deployed": self._deployed,
            "deployed_outputs": np.zeros(0) if self._outputs is None else self._outputs,
            "pool_choices": self._choices,
            "pool_columns": self._columns,
        }

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        about = json.loads(str(arrays["columns_about"]))
        self.rng.bit_generator.state = about["rng"]
        self._shape = tuple(about["shape"])
        self._deployed = np.array(arrays["deployed"], dtype=np.float64)
        if about["evaluated"]:
            self._outputs = np.array(arrays["deployed_outputs"], dtype=np.float32)
            self._choices = np.array(arrays["pool_choices"], dtype=np.int64)
            self._columns = np.array(arrays["pool_columns"], dtype=np.float32)
        assembled = about["assembled"]
        self._assembled = None if assembled is None else np.array(assembled)
        for tried, seen in zip(self._tried, about["tried"], strict=False):
            tried.update(bytes.fromhex(each) for each in seen)
