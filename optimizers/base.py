"""Optimizer, the ask/tell base class of all optimizers."""

from __future__ import annotations

import json
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import numpy as np

from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import whole_number
from craft_zoo.optimizers.space import Space

_LARGEST = 1e100  # losses are clipped to ±this: optimizers square differences of losses
_FAILED = 3 * _LARGEST  # loss of a failed evaluation before any evaluation has succeeded

Outputs = Sequence[np.ndarray] | None
"""The outputs (logits) from which each loss was computed; None: unknown."""

OutputLoss = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""A convex function of one output: its value, and its gradient in the output's shape."""


class Best(NamedTuple):
    """A point (d,) and its loss."""

    point: np.ndarray
    loss: float


class Optimizer(ABC):
    """Minimises a black-box function of d real or categorical variables.

    The search starts at the origin, and its first steps have a length of about 1 in each
    coordinate: scale your variables accordingly. Usage::

        optimizer = create("cma", 20, budget=2000, seed=1)
        while not optimizer.stop:
            candidates = optimizer.ask()
            optimizer.tell(candidates, [f(z) for z in candidates])
        best = optimizer.recommend()

    A subclass implements :meth:`_ask`, :meth:`_tell` and :meth:`recommend`, declares its options
    as keyword-only arguments with type and default, describes them under ``Args:``, and registers
    itself with :func:`craft_zoo.optimizers.register`.

    Random numbers come from ``self.rng`` or a generator derived from ``seed``, never from a global
    one, so that optimizers in one process do not influence each other.

    Args:
        space: what is searched, or the number d of real variables.
        budget: total number of candidates to evaluate.
        seed: seed of all the optimizer's randomness.

    Attributes:
        space: what is searched.
        dim: d, number of variables.
        evaluations: number of candidates evaluated so far.
        failed: (k,) bool, True for the candidates of the last :meth:`tell` without a finite loss;
            set before :meth:`_tell`, for optimizers that take differences of losses.
        output_loss: the convex function that computes a loss from an output. The caller sets it
            before the first tell, and again whenever the function has changed.
    """

    name: ClassVar[str] = "unregistered"
    """The name in the registry."""

    learns_from_outputs: bool = False
    """Whether :meth:`tell` must be given ``outputs``."""

    needs_output_loss: bool = False
    """Whether :attr:`output_loss` must be set; only for optimizers that learn from outputs."""

    uses_blocks: ClassVar[bool] = False
    """Whether it makes use of the space's :attr:`Space.blocks`."""

    uses_choices: ClassVar[bool] = False
    """Whether it can search categorical variables, given by :attr:`Space.choices`."""

    needs_choices: ClassVar[bool] = False
    """Whether it can search only categorical variables."""

    snapshots: bool = False
    """Whether :meth:`state` uses :meth:`_snapshot` instead of a record of all :meth:`tell` calls,
    which would be large for optimizers that learn from outputs."""

    def __init__(self, space: Space | int, *, budget: int, seed: int) -> None:
        self.space = Space.of(space)
        self.dim = self.space.dim
        self.budget = whole_number("budget", budget, 1)
        self.seed = whole_number("seed", seed, 0)
        self.rng = np.random.default_rng(self.seed)
        self.evaluations = 0
        self.failed = np.zeros(0, dtype=bool)
        self.output_loss: OutputLoss | None = None
        self._asked: np.ndarray | None = None
        self._made_from: tuple[str, Mapping[str, Any]] | None = None  # set by create()
        self._told_losses: list[np.ndarray] = []
        self._told_outputs: list[np.ndarray] = []
        self._checksum = 0
        self._extensions: list[tuple[int, int]] = []  # evaluations by then, evaluations added
        self._told_best = Best(np.zeros(self.dim), math.inf)
        self._worst = -math.inf  # largest finite loss so far
        self._choices_array: np.ndarray | None = None
        if self.space.choices is not None:
            self._choices_array = np.array(self.space.choices, dtype=np.int64)
            self._choices_array.flags.writeable = False
        self._check_choices()

    @property
    def blocks(self) -> int:
        """B, number of equal blocks of a candidate; see :class:`Space`."""
        return self.space.blocks

    @property
    def choices(self) -> np.ndarray | None:
        """(d,) int64 numbers of values of categorical variables; None for real variables."""
        return self._choices_array

    @property
    def _who(self) -> str:
        """The optimizer's name in error messages."""
        registered = "name" in vars(type(self))
        return repr(self.name) if registered else type(self).__name__

    @property
    def remaining(self) -> int:
        """Number of evaluations left in the budget."""
        return self.budget - self.evaluations

    @property
    def best(self) -> Best:
        """The point with the least loss told so far, and this loss.

        Before the first success it is the start, with a loss of inf. It differs from
        :meth:`recommend` where an optimizer recommends a mean of many points: such a point is the
        better one if losses are noisy, but its own loss may be unknown.
        """
        return Best(self._told_best.point.copy(), self._told_best.loss)

    @property
    def spec(self) -> str:
        """The spec with which :func:`create` makes such an optimizer."""
        return self.name if self._made_from is None else self._made_from[0]

    def __repr__(self) -> str:
        best = f"best loss {self.best.loss:.6g}" if self.evaluations else "not started"
        return (
            f"<{self.spec}: {self.dim} variables, {self.evaluations} of {self.budget} evaluations, "
            f"{best}>"
        )

    def extend(self, evaluations: int) -> None:
        """Add ``evaluations`` to the budget, before or after it is spent.

        Raises:
            OptimizerError: ``evaluations`` is no whole number of at least 0, or the losses of the
                last candidates were not passed to :meth:`tell`.
        """
        more = whole_number("extension", evaluations, 0)
        if self._asked is not None:
            raise OptimizerError("extend was called between ask and tell: call tell first")
        self._extensions.append((self.evaluations, more))
        self.budget += more

    @property
    def stop(self) -> str | None:
        """The reason why the search has ended, as text; None while it goes on."""
        if self.remaining <= 0:
            return f"the budget of {self.budget} is spent"
        return self._stop()

    def ask(self) -> np.ndarray:
        """The next generation, a read-only array (λ, d) of float64.

        The optimizer chooses λ ≥ 1, which may vary; the last generation is truncated to the
        remaining budget.

        Raises:
            OptimizerError: the losses of the last candidates were not passed to :meth:`tell`, the
                search has ended (see :attr:`stop`), or the candidates are malformed or not finite.
        """
        if self._asked is not None:
            raise OptimizerError("ask was called twice: call tell in between")
        if reason := self.stop:
            raise OptimizerError(
                f"the search has ended ({reason}): extend its budget or create a new optimizer"
            )
        candidates = np.asarray(self._ask(), dtype=np.float64)
        name = type(self).__name__
        if candidates.ndim != 2 or candidates.shape[1] != self.dim or not len(candidates):
            raise OptimizerError(
                f"{name} asked for candidates of shape {candidates.shape}: "
                f"its _ask must return (λ, {self.dim}) with λ of at least 1"
            )
        candidates = candidates[: self.remaining]  # a view: only the view is made read-only
        # A finite squared norm implies finite coordinates, and is much faster to compute.
        if not math.isfinite(np.vdot(candidates, candidates)) and not np.isfinite(candidates).all():
            raise OptimizerError(
                f"{name} asked for a candidate that is not finite: its search has diverged, "
                f"lower its step or give it bounds"
            )
        candidates.flags.writeable = False
        self._asked = candidates
        return candidates

    def _check_choices(self) -> None:
        if self.choices is None and self.needs_choices:
            raise OptimizerError(
                f"{self._who} searches categorical choices, not numbers: give it a Space with "
                f"choices, or use it with a method that searches words"
            )
        if self.choices is not None and not self.uses_choices:
            raise OptimizerError(
                f"{self._who} searches numbers, not categorical choices: use columns, genetic, "
                f"hill-climb or nevergrad:NAME"
            )

    def tell(
        self,
        candidates: np.ndarray,
        losses: Iterable[Any] | np.ndarray,
        outputs: Outputs = None,
    ) -> None:
        """Report the losses of the candidates of the last :meth:`ask`.

        Args:
            candidates: (k, d), the first k ≤ λ rows of what :meth:`ask` returned; fewer than λ if
                evaluation was cut short.
            losses: (k,), smaller is better: an array, a tensor, or any sequence or generator of
                numbers, arrays or tensors of one element. NaN or ±inf means that the evaluation
                failed: it is replaced by the largest finite loss so far plus the range of the
                finite losses.
            outputs: the k arrays that the losses were computed from (the logits).

        Raises:
            OptimizerError: the candidates differ from those of :meth:`ask`, shapes do not match, or
                outputs or :attr:`output_loss` are missing although the optimizer needs them.
        """
        if self._asked is None:
            raise OptimizerError("tell was called before ask: ask for candidates first")
        asked, k = self._asked, len(candidates)
        if candidates is not asked and not (
            0 < k <= len(asked) and np.array_equal(candidates, asked[:k])
        ):
            same = np.shape(candidates) == asked.shape
            what = "other values" if same else f"shape {np.shape(candidates)}, not {asked.shape}"
            raise OptimizerError(
                f"the candidates passed to tell differ from those that ask returned ({what}): pass "
                f"what ask returned, or its first rows"
            )
        values = _numbers(losses)
        if values.shape != (k,):
            raise OptimizerError(
                f"{k} candidates came with losses of shape {values.shape}: give one number each"
            )
        if outputs is not None and len(outputs) != k:
            raise OptimizerError(
                f"{k} candidates came with {len(outputs)} outputs: give one array each"
            )
        if outputs is None and self.learns_from_outputs:
            raise OptimizerError(f"{self._who} learns from outputs: pass outputs to tell")
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
            i = int(np.nanargmin(values))
            if values[i] < self._told_best.loss:
                self._told_best = Best(told[i], float(values[i]))
            self._worst = max(self._worst, float(np.nanmax(values)))
        self._tell(told, np.where(self.failed, self._failed_loss(), values), outputs)

    def _failed_loss(self) -> float:
        """The loss that replaces that of a failed evaluation; it is above all finite losses so far.

        The margin is the range of these losses, so that optimizers that fit a model of losses do
        not see an outlier.
        """
        least = self._told_best.loss
        if self._worst < least:
            return _FAILED  # there was no finite loss yet
        margin = max(self._worst - least, 1e-9 * abs(self._worst))
        return max(self._worst + (margin or 1.0), float(np.nextafter(self._worst, np.inf)))

    def state(self) -> dict[str, np.ndarray]:
        """The state of the search as plain arrays, from which :func:`restore` continues it.

        ``np.savez(path, **optimizer.state())`` writes it to a file. It contains neither
        :attr:`output_loss` nor candidates without losses: the restored optimizer asks for these
        candidates again.

        Raises:
            OptimizerError: the optimizer was not created by :func:`create`.
        """
        if self._made_from is None:
            raise OptimizerError(
                "only an optimizer made by create() has a state that can be restored"
            )
        spec, given = self._made_from
        about = {
            "spec": spec,
            "options": dict(given),
            "space": asdict(self.space),
            "budget": self.budget - sum(more for _, more in self._extensions),
            "seed": self.seed,
            "checksum": self._checksum,
        }
        if self._extensions:
            about["extensions"] = self._extensions
        if self.snapshots:
            about |= {"evaluations": self.evaluations, "best": self._told_best.loss}
            best = {"best": self._told_best.point}
            return {"about": np.array(json.dumps(about))} | best | self._snapshot()
        state = {
            "about": np.array(json.dumps(about)),
            "generations": np.array([len(losses) for losses in self._told_losses], dtype=np.int64),
            "losses": np.concatenate([np.zeros(0), *self._told_losses]),
        }
        if self._told_outputs:
            state["outputs"] = np.concatenate(self._told_outputs)
        return state

    def _note(self, told: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """Record losses and outputs for :meth:`state`: with the seed, they determine the search."""
        if self.snapshots:
            return
        self._told_losses.append(losses)
        # The first coordinate suffices: a search that differs will differ there too.
        self._checksum = zlib.crc32(told[:, 0].tobytes(), self._checksum)
        if self.learns_from_outputs and outputs is not None:
            self._told_outputs.append(np.stack(outputs))

    @abstractmethod
    def _ask(self) -> np.ndarray:
        """Return the next candidates as a new array (λ, d); see :meth:`ask`."""

    @abstractmethod
    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """Learn from a generation; see :meth:`tell`. It may be shorter than what was asked for.

        ``losses`` are finite: that of a failed evaluation (see :attr:`failed`) is replaced by one
        above all finite losses so far. ``candidates`` are read-only and may be kept.
        """

    def _snapshot(self) -> dict[str, np.ndarray]:
        """Arrays for :meth:`_resume` if :attr:`snapshots`; ``about`` and ``best`` are reserved."""
        raise NotImplementedError

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore the arrays of :meth:`_snapshot` into a new optimizer."""
        raise NotImplementedError

    def _stop(self) -> str | None:
        """The reason to stop before the budget is spent, as text; None: go on."""
        return None

    @abstractmethod
    def recommend(self) -> np.ndarray:
        """(d,) the best point according to the search so far; the start before the first tell.

        It has no side effect, and avoids points whose evaluation failed if another is known.
        """


def one_number(value: Any) -> float:
    """The number that a loss is: of Python or numpy, or an array or tensor of one element.

    Raises:
        OptimizerError: ``value`` is something else.
    """
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise OptimizerError(f"a loss must be one number, not {value!r:.100}") from None


def _numbers(losses: Iterable[Any] | np.ndarray) -> np.ndarray:
    try:
        if getattr(getattr(losses, "dtype", None), "kind", "") == "c":
            raise TypeError("numpy would drop the imaginary parts")
        values = np.asarray(losses, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # a generator, or tensors that numpy cannot read
        values = np.array([one_number(each) for each in losses], dtype=np.float64)
    # arrays or tensors of one element
    return values.ravel() if values.ndim and values.size == len(values) else values
