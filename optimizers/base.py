"""The interface of every optimizer."""

from __future__ import annotations

import json
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import as_int

_LARGEST = 1e100  # magnitude of a loss; optimizers square differences of them
_FAILED = 3 * _LARGEST  # counts for a failed evaluation before any other; above every loss

Outputs = Sequence[np.ndarray] | None
"""What is behind each loss (the logits), where it is known."""

OutputLoss = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""A convex function of one output: its value, and its gradient in the output's shape."""


class Optimizer(ABC):
    """Minimises a function of d variables that can only be evaluated, real ones or choices.

    The start is the origin, and a good first step has a length of about 1 in each coordinate:
    scale your variables so. A user's loop::

        optimizer = create("cma", dim=20, budget=2000, seed=1)
        while not optimizer.stop:
            candidates = optimizer.ask()
            optimizer.tell(candidates, [f(z) for z in candidates])
        best = optimizer.recommend()

    A subclass implements :meth:`_ask`, :meth:`_tell` and :meth:`recommend`, declares its options
    as keyword-only arguments with type and default, describes them under ``Args:``, and is made
    known by :func:`craft_zoo.optimizers.register`.

    Random numbers come from ``self.rng`` or a generator derived from ``seed``, never from a global
    one, so that optimizers in one process do not disturb each other.

    Args:
        dim: d.
        budget: how many candidates will be evaluated in all.
        seed: seed of all the optimizer's randomness.

    Attributes:
        evaluations: candidates told so far.
        failed: (k,) bool, which of the candidates told last had no finite loss; set before
            :meth:`_tell`, for optimizers that take differences of losses.
        output_loss: the convex function that makes losses of outputs, for optimizers that use it;
            the caller sets it before the first tell, and again whenever it has changed.
        blocks: B where outputs (..., B) and candidates come in as many equal pieces, and a column
            of the outputs depends on its own piece alone; for optimizers that use it. The caller
            sets it before the first ask.
        choices: (d,) where coordinate i is one of 0 … choices[i] - 1, without any order; for
            optimizers that use it. The caller sets it before the first ask.
    """

    name: ClassVar[str] = "unregistered"
    """The name in the registry."""

    learns_from_outputs: ClassVar[bool] = False
    """Whether :meth:`tell` must be given ``outputs``."""

    needs_output_loss: ClassVar[bool] = False
    """Whether :attr:`output_loss` must be set, for one that learns from outputs."""

    uses_blocks: ClassVar[bool] = False
    """Whether it searches better where :attr:`blocks` is set."""

    uses_choices: ClassVar[bool] = False
    """Whether it can search where :attr:`choices` is set."""

    needs_choices: ClassVar[bool] = False
    """Whether it can search nowhere else."""

    snapshots: ClassVar[bool] = False
    """Whether :meth:`state` is the optimizer's own snapshot (see :meth:`_snapshot`) and not a
    record of all it was told: for those that learn from outputs, which are large."""

    def __init__(self, dim: int, *, budget: int, seed: int) -> None:
        self.dim = whole_number("dim", dim, 1)
        self.budget = whole_number("budget", budget, 1)
        self.seed = whole_number("seed", seed, 0)
        self.rng = np.random.default_rng(self.seed)
        self.evaluations = 0
        self.failed = np.zeros(0, dtype=bool)
        self.output_loss: OutputLoss | None = None
        self.blocks = 1
        self.choices: np.ndarray | None = None
        self._asked: np.ndarray | None = None
        self._made_from: tuple[str, Mapping[str, Any]] | None = None  # set by create()
        self._told_losses: list[np.ndarray] = []
        self._told_outputs: list[np.ndarray] = []
        self._checksum = 0
        self._least, self._worst = math.inf, -math.inf  # finite losses told so far

    @property
    def _who(self) -> str:
        """What messages call it."""
        made = self._made_from is not None
        return repr(self.name) if made else type(self).__name__

    @property
    def remaining(self) -> int:
        """How many candidates of the budget are left."""
        return self.budget - self.evaluations

    @property
    def stop(self) -> str | None:
        """Why there is nothing more to ask, in words; None while there is."""
        if self.remaining <= 0:
            return f"the budget of {self.budget} is spent"
        return self._stop()

    def ask(self) -> np.ndarray:
        """The next generation, (λ, d) float64, read-only: copy it to change it.

        λ ≥ 1 is the optimizer's choice and may vary; the last generation is cut to what is left of
        the budget.

        Raises:
            OptimizerError: the last candidates were not told yet, or :attr:`stop` says why not.
        """
        if self._asked is not None:
            raise OptimizerError("ask was called twice: tell the losses of the first candidates")
        self._check_choices()
        if reason := self.stop:
            raise OptimizerError(f"ask was called after the end ({reason}): make a new optimizer")
        candidates = np.asarray(self._ask(), dtype=np.float64)
        name = type(self).__name__
        if candidates.ndim != 2 or candidates.shape[1] != self.dim or not len(candidates):
            raise OptimizerError(
                f"{name} asked for candidates of shape {candidates.shape}: "
                f"its _ask must return (λ, {self.dim}) with λ of at least 1"
            )
        candidates = candidates[: self.remaining]  # a view, to be made read-only
        # The squared length tells in a fraction of the time that no coordinate is infinite or NaN.
        if not math.isfinite(np.vdot(candidates, candidates)) and not np.isfinite(candidates).all():
            raise OptimizerError(
                f"{name} asked for a candidate that is not finite: its search has diverged, "
                f"lower its step or give it bounds"
            )
        candidates.flags.writeable = False
        self._asked = candidates
        return candidates

    def _check_choices(self) -> None:
        if self.choices is None:
            if self.needs_choices:
                raise OptimizerError(
                    f"{self._who} searches choices and no numbers: set its choices, or use it for "
                    f"prompts in words"
                )
        elif not self.uses_choices:
            raise OptimizerError(
                f"{self._who} searches numbers and no choices: use columns, genetic, "
                f"hill-climb or nevergrad:NAME"
            )
        elif np.shape(self.choices) != (self.dim,) or np.min(self.choices) < 1:
            raise OptimizerError(
                f"choices {self.choices} do not fit {self.dim} dimensions: give at least 1 for each"
            )

    def tell(
        self,
        candidates: np.ndarray,
        losses: Sequence[float] | np.ndarray,
        outputs: Outputs = None,
    ) -> None:
        """Report what the candidates were worth.

        Args:
            candidates: the first rows of what :meth:`ask` returned, all of them unless evaluation
                had to end; (k, d).
            losses: (k,), smaller is better. NaN and ±inf say that the evaluation failed: it counts
                as worse than every finite loss told so far, by the range of those.
            outputs: k arrays behind the losses (the logits), for optimizers that learn from them.

        Raises:
            OptimizerError: something else was asked for, or the shapes do not fit.
        """
        if self._asked is None:
            raise OptimizerError("tell was called before ask: ask for candidates first")
        asked, k = self._asked, len(candidates)
        if candidates is not asked and not (
            0 < k <= len(asked) and np.array_equal(candidates, asked[:k])
        ):
            same = np.shape(candidates) == asked.shape
            what = "with other values" if same else f"of shape {np.shape(candidates)}"
            raise OptimizerError(
                f"candidates {what} were told than the {asked.shape} that were asked for: "
                f"tell what ask returned, or its first rows"
            )
        values = np.array(losses, dtype=np.float64)
        if values.shape != (k,):
            raise OptimizerError(
                f"{k} candidates came with losses of shape {values.shape}: give one number each"
            )
        if outputs is not None and len(outputs) != k:
            raise OptimizerError(
                f"{k} candidates came with {len(outputs)} outputs: give one array each"
            )
        if outputs is None and self.learns_from_outputs:
            raise OptimizerError(f"{self._who} learns from outputs: tell what is behind each loss")
        if self.needs_output_loss and self.output_loss is None:
            raise OptimizerError(
                f"{self._who} needs the convex loss of the outputs: set its output_loss"
            )
        self.failed = ~np.isfinite(values)
        values = np.where(self.failed, np.nan, values.clip(-_LARGEST, _LARGEST))
        told, self._asked = asked[:k], None
        self.evaluations += k
        self._note(told, values, outputs)
        if not self.failed.all():
            self._least = min(self._least, float(np.nanmin(values)))
            self._worst = max(self._worst, float(np.nanmax(values)))
        self._tell(told, np.where(self.failed, self._failed_loss(), values), outputs)

    def _failed_loss(self) -> float:
        """What a failed evaluation counts for: more than any finite loss told so far.

        By the range of those, so that it is no outlier to optimizers that fit a model of losses.
        """
        if self._worst < self._least:
            return _FAILED  # nothing finite was told
        margin = max(self._worst - self._least, 1e-9 * abs(self._worst))
        return max(self._worst + (margin or 1.0), float(np.nextafter(self._worst, np.inf)))

    def state(self) -> dict[str, np.ndarray]:
        """All that is needed to continue elsewhere, as plain arrays; see :func:`restore`.

        :attr:`output_loss` is not part of it.

        ``np.savez(path, **optimizer.state())`` keeps it in a file. Candidates that were asked for
        and not told are not part of it: the restored optimizer asks for them again.

        Raises:
            OptimizerError: it was not made by :func:`create`.
        """
        if self._made_from is None:
            raise OptimizerError(
                "only an optimizer made by create() has a state that can be restored"
            )
        spec, given = self._made_from
        about = {
            "spec": spec,
            "options": dict(given),
            "dim": self.dim,
            "budget": self.budget,
            "seed": self.seed,
            "checksum": self._checksum,
            "choices": None if self.choices is None else np.asarray(self.choices).tolist(),
        }
        if self.snapshots:
            about |= {"evaluations": self.evaluations}
            return {"about": np.array(json.dumps(about))} | self._snapshot()
        state = {
            "about": np.array(json.dumps(about)),
            "generations": np.array([len(losses) for losses in self._told_losses], dtype=np.int64),
            "losses": np.concatenate([np.zeros(0), *self._told_losses]),
        }
        if self._told_outputs:
            state["outputs"] = np.concatenate(self._told_outputs)
        return state

    def _note(self, told: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """Keep what :meth:`state` needs: an optimizer is a function of its seed and the losses."""
        if self.snapshots:
            return
        self._told_losses.append(losses)
        # Of the first coordinates, which are as good as all: another search differs in them too.
        self._checksum = zlib.crc32(told[:, 0].tobytes(), self._checksum)
        if self.learns_from_outputs and outputs is not None:
            self._told_outputs.append(np.stack(outputs))

    @abstractmethod
    def _ask(self) -> np.ndarray:
        """(λ, d), a new array; see :meth:`ask`."""

    @abstractmethod
    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """See :meth:`tell`; ``losses`` are finite, and fewer than asked for where it was cut.

        A failed evaluation's is above every finite loss told so far; :attr:`failed` says which they
        are. ``candidates`` are read-only and may be kept.
        """

    def _snapshot(self) -> dict[str, np.ndarray]:
        """What :meth:`_resume` needs, where :attr:`snapshots` is set; no key ``about``."""
        raise NotImplementedError

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a new optimizer where :meth:`_snapshot` was taken."""
        raise NotImplementedError

    def _stop(self) -> str | None:
        """Why asking on would be pointless although there is budget; None: go on."""
        return None

    @abstractmethod
    def recommend(self) -> np.ndarray:
        """(d,) the point to deploy now; before the first tell, the start. Changes nothing.

        Never one whose evaluation failed, as long as another is known.
        """


def whole_number(what: str, value: Any, least: int) -> int:
    """``value``, which may be numpy's, as an int.

    Raises:
        OptimizerError: it is not whole, or below ``least``.
    """
    number = as_int(value)
    if number is None or number < least:
        raise OptimizerError(
            f"an optimizer's {what} must be a whole number, at least {least}, not {value!r}"
        )
    return number
