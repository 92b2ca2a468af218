"""Optimizer, the ask/tell base class of all optimizers."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import numpy as np

from craft_zoo.optimizers.awaited import Awaited, read_only
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.event_log import ADD, AHEAD, LATE, ROW, TELL, EventLog
from craft_zoo.optimizers.losses import numbers
from craft_zoo.optimizers.option import whole_number
from craft_zoo.optimizers.space import Space

_LARGEST = 1e100  # losses are clipped to ±this: optimizers square differences of losses
_FAILED = 3 * _LARGEST  # loss of a failed evaluation before any evaluation has succeeded
_ENOUGH = 8  # candidates whose differences give the size of steps for candidates asked ahead

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

    learns_from_late: bool = False
    """Whether :meth:`_tell` also accepts generations some of whose candidates were asked earlier,
    or ahead, in place of others."""

    _bound: float | None = None  # the option ``bound`` of those that have it

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
        self._awaited = Awaited(self.dim)
        self._ahead_rng: np.random.Generator | None = None
        self._recent: list[np.ndarray] = []  # the last candidates told
        self._made_from: tuple[str, Mapping[str, Any]] | None = None  # set by create()
        self._event_log = EventLog()
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
        if self._awaited.generation is not None or self._awaited.answers:
            raise OptimizerError("extend was called between ask and tell: call tell first")
        self._event_log.extensions.append((self.evaluations, more))
        self.budget += more

    @property
    def stop(self) -> str | None:
        """The reason why the search has ended, as text; None while it goes on."""
        if self.remaining <= 0:
            return f"the budget of {self.budget} is spent"
        return self._stop()

    def ask(self, count: int | None = None) -> np.ndarray:
        """The next candidates, a read-only array (λ, d) of float64.

        Without ``count`` they are a whole generation. The optimizer chooses λ ≥ 1, which may vary;
        the last generation is truncated to the remaining budget. If losses of the last generation
        are missing, its candidates without a loss are returned again. After a restore, so are those
        that had been asked ahead.

        With ``count`` they are at most this many, of which none was returned before: those of the
        generation, then ones that are asked ahead of its losses, so that no worker waits. They are
        fewer, or none, if the budget is all under evaluation.

        Raises:
            OptimizerError: the search has ended (see :attr:`stop`), or the candidates are malformed
                or not finite.
        """
        if count is not None:
            return self._ask_some(whole_number("count", count, 1))
        if self._awaited.generation is None:
            if self._awaited.to_hand:  # nobody has them, as after a restore
                return self._ask_some(len(self._awaited.to_hand))
            self._begin_generation()
        return self._awaited.untold()

    def _ask_some(self, count: int) -> np.ndarray:
        awaited = self._awaited
        rows = awaited.hand_ahead(count)
        if awaited.generation is None and len(rows) < count and awaited.count < self.remaining:
            self._begin_generation()
        if awaited.generation is not None:
            rows += awaited.hand_rows(count - len(rows))
            more = min(count - len(rows), self.remaining - awaited.count)
            if more > 0:
                rows += self._draw_ahead(more)
        return read_only(np.array(rows).reshape(-1, self.dim))

    def _draw_ahead(self, count: int) -> list[np.ndarray]:
        """Candidates that are asked ahead; they become numbered, and are part of the state."""
        self._keep_order()
        drawn = np.asarray(self._ask_ahead(count), dtype=np.float64)[:count]
        if drawn.ndim != 2 or drawn.shape[1] != self.dim or not np.isfinite(drawn).all():
            raise OptimizerError(
                f"{type(self).__name__} asked ahead for candidates of shape {drawn.shape}, or not "
                f"finite: its _ask_ahead must return at most ({count}, {self.dim}) finite numbers"
            )
        rows = list(read_only(drawn.copy()))
        for row in rows:
            self._awaited.add_ahead(row)
        self._enter(AHEAD, len(rows))
        return rows

    def _begin_generation(self) -> None:
        """Await the losses of the candidates of :meth:`_ask`, checked and within the budget."""
        if reason := self.stop:
            raise OptimizerError(
                f"the search has ended ({reason}): extend its budget or create a new optimizer"
            )
        n_ahead = len(self._awaited.ahead)
        if n_ahead >= self.remaining:
            raise OptimizerError(
                f"all {self.remaining} candidates that are left of the budget were asked ahead: "
                f"tell their losses first"
            )
        name, asked = type(self).__name__, self._ask()
        try:
            candidates = np.asarray(asked, dtype=np.float64)
        except (TypeError, ValueError):
            raise OptimizerError(
                f"{name} asked for {asked!r:.100}: its _ask must return numbers (λ, {self.dim})"
            ) from None
        if candidates.ndim != 2 or candidates.shape[1] != self.dim or not len(candidates):
            raise OptimizerError(
                f"{name} asked for candidates of shape {candidates.shape}: "
                f"its _ask must return (λ, {self.dim}) with λ of at least 1"
            )
        n_told = len(self._awaited.answers)  # not 0 after a restore
        # A view, which becomes read-only.
        candidates = candidates[: self.remaining + n_told - n_ahead]
        # A finite squared norm implies finite coordinates, and is much faster to compute.
        if not math.isfinite(np.vdot(candidates, candidates)) and not np.isfinite(candidates).all():
            raise OptimizerError(
                f"{name} asked for a candidate that is not finite: its search has diverged, "
                f"lower its step or give it bounds"
            )
        self._awaited.begin(candidates)

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
        """Report the losses of candidates that :meth:`ask` returned, in any order.

        The optimizer learns from a generation when all its losses are told. The first k < λ rows
        of a generation that was asked for as a whole end it, as if evaluation had been cut short.

        Args:
            candidates: (k, d) candidates that :meth:`ask` returned, or (d,) one of them; of one
                variable, a number too.
            losses: (k,), smaller is better: an array, a tensor, or any sequence or generator of
                numbers, arrays or tensors of one element; one number for a candidate (d,). NaN or
                ±inf means that the evaluation failed: it is replaced by the largest finite loss so
                far plus the range of the finite losses.
            outputs: the k arrays that the losses were computed from (the logits); the array for a
                candidate (d,).

        Raises:
            OptimizerError: the candidates differ from those of :meth:`ask`, shapes do not match, or
                outputs or :attr:`output_loss` are missing although the optimizer needs them.
        """
        awaited = self._awaited
        if awaited.generation is None and awaited.answers:
            self._begin_generation()
        asked = awaited.generation
        if asked is None and not awaited.ahead:
            raise OptimizerError("tell was called before ask: ask for candidates first")
        if alone := np.ndim(candidates) < 2:
            candidates, losses = np.atleast_2d(candidates), [losses]
            outputs = None if outputs is None else [np.asarray(outputs)]
        k = len(candidates)
        told = None if asked is None or alone or awaited.answers or awaited.handed else asked[:k]
        # Anything but the first rows of a whole generation is told one by one.
        if told is not None and candidates is not asked:
            told = told if k and np.array_equal(candidates, told) else None
        places = [] if told is not None else awaited.places(candidates)
        values = self._checked(k, losses, outputs)
        if told is not None:
            awaited.generation = None
            self.evaluations += k
            self._note(told, values, outputs)
            self._compare(told, values)
            self._learn_generation(told, values, outputs)
            return
        self._keep_order()
        late = any(kind == LATE for kind, _ in places)
        for i in range(k):
            # A late candidate may take another's place, and end the generation.
            kind, place = awaited.places(candidates[i : i + 1])[0] if late else places[i]
            self._tell_one(kind, place, values[i : i + 1], None if outputs is None else outputs[i])

    def add(
        self,
        points: np.ndarray,
        losses: Iterable[Any] | np.ndarray,
        outputs: Outputs = None,
    ) -> None:
        """Tell evaluations of points that were not asked for, as those of an earlier search.

        They do not count against the budget. :attr:`best` takes them into account, and so do
        optimizers that recommend the best candidate; whether an optimizer also learns from them is
        up to it.

        Args:
            points: (k, d), or (d,) a single one.
            losses: as for :meth:`tell`.
            outputs: as for :meth:`tell`.

        Raises:
            OptimizerError: points are malformed or lie outside the space, shapes do not match, or
                outputs or :attr:`output_loss` are missing although the optimizer needs them.
        """
        try:
            rows = np.array(points, dtype=np.float64)
        except (TypeError, ValueError):
            raise OptimizerError("the points to be added are no numbers: give (k, d)") from None
        if rows.ndim < 2:
            rows, losses = np.atleast_2d(rows), [losses]
            outputs = None if outputs is None else [np.asarray(outputs)]
        if rows.ndim != 2 or rows.shape[1] != self.dim or not np.isfinite(rows).all():
            raise OptimizerError(
                f"points of shape {np.shape(points)}, or not finite, cannot be added to a search "
                f"of {self.dim} variables: give finite numbers (k, {self.dim})"
            )
        self.space.check(rows)
        values = self._checked(len(rows), losses, outputs)
        self._keep_order()
        self._enter(ADD, len(rows), values, outputs, read_only(rows))
        self._compare(rows, values)
        self._learn_added(rows, values, outputs)

    def _checked(self, k: int, losses: Iterable[Any] | np.ndarray, outputs: Outputs) -> np.ndarray:
        """(k,) losses, NaN where the evaluation failed."""
        values = numbers(losses)
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
        if np.vdot(values, values) <= _LARGEST:  # all are finite and small: the usual case
            return values.copy()
        return np.where(np.isfinite(values), values.clip(-_LARGEST, _LARGEST), np.nan)

    def _tell_one(self, kind: int, place: int, value: np.ndarray, output: Any) -> None:
        """Report the loss (1,) of the candidate at a place, which may complete the generation."""
        self._note_one(kind, place, value, output)
        if self._awaited.is_answered:
            self._end_generation()

    def _note_one(self, kind: int, place: int, value: np.ndarray, output: Any) -> None:
        outputs = None if output is None else [output]
        self._enter(kind, place, value, outputs)
        awaited = self._awaited
        learns = self.learns_from_late and (awaited.generation is not None or self.stop is None)
        if kind == LATE and learns and len(awaited.ahead) < self.remaining:
            if awaited.generation is None:
                self._begin_generation()
            kind, place = ROW, awaited.swap(place)
        self.evaluations += 1
        if kind == ROW:
            assert awaited.generation is not None
            self._compare(awaited.generation[place][None], value)
            awaited.answers[place] = float(value[0]), output
            return
        row = awaited.take_ahead(place)[None]
        self._compare(row, value)
        self._event_log.check(row)
        self._learn_added(row, value, outputs)

    def _end_generation(self) -> None:
        """Learn from the generation, all losses of which were told one by one."""
        told, answers = self._awaited.end()
        values = np.array([loss for loss, _ in answers])
        outputs = None if answers[0][1] is None else [output for _, output in answers]
        if self._event_log.take_back_rows(len(told)):
            self._note(told, values, outputs)
        elif not self.snapshots:
            self._event_log.check(told)
        self._learn_generation(told, values, outputs)

    def _compare(self, points: np.ndarray, values: np.ndarray) -> None:
        """Compare losses, NaN where the evaluation failed, with the best and the worst so far."""
        losses = values.tolist()  # numpy's functions take longer for so few numbers
        known = [loss for loss in losses if not math.isnan(loss)]
        if known:
            least = min(known)
            if least < self._told_best.loss:
                self._told_best = Best(points[losses.index(least)], least)
            self._worst = max(self._worst, *known)

    def _learn_generation(self, told: np.ndarray, values: np.ndarray, outputs: Outputs) -> None:
        self.failed = np.isnan(values)
        self._recent = [told] if len(told) >= _ENOUGH else [*self._recent[1 - _ENOUGH :], told]
        losses = values.copy()
        if self.failed.any():
            losses[self.failed] = self._failed_loss()
        self._tell(told, losses, outputs)

    def _learn_added(self, points: np.ndarray, values: np.ndarray, outputs: Outputs) -> None:
        good = ~np.isnan(values)
        if good.any():
            kept = None if outputs is None else [outputs[i] for i in np.flatnonzero(good)]
            self._tell_added(points[good], values[good], kept)

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
            "budget": self.budget - sum(more for _, more in self._event_log.extensions),
            "seed": self.seed,
            "checksum": self._event_log.checksum,
        }
        if self._event_log.extensions:
            about["extensions"] = self._event_log.extensions
        if self.snapshots:
            told = len(self._awaited.answers)
            about |= {"evaluations": self.evaluations - told, "best": self._told_best.loss}
            about["worst"] = self._worst
            best = {"best": self._told_best.point} | self._awaited.arrays()
            return {"about": np.array(json.dumps(about))} | best | self._snapshot()
        return {"about": np.array(json.dumps(about))} | self._event_log.arrays(self.dim)

    def _note(self, told: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """Record the losses and outputs of a generation for :meth:`state`."""
        self._enter(TELL, len(told), losses, outputs)
        if not self.snapshots:
            self._event_log.check(told)

    def _enter(
        self,
        kind: int,
        number: int,
        losses: np.ndarray | None = None,
        outputs: Outputs = None,
        points: np.ndarray | None = None,
    ) -> None:
        """Enter into the log what was done, unless a snapshot is kept instead."""
        if not self.snapshots:
            kept = outputs if self.learns_from_outputs else None
            self._event_log.enter(kind, number, losses, kept, points)

    def _keep_order(self) -> None:
        """Enter that the generation was asked for before what follows now."""
        awaited = self._awaited
        if awaited.generation is not None and not awaited.answers and not self.snapshots:
            self._event_log.enter_asked()

    @abstractmethod
    def _ask(self) -> np.ndarray:
        """Return the next candidates as a new array (λ, d); see :meth:`ask`."""

    @abstractmethod
    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        """Learn from a generation; see :meth:`tell`. It may be shorter than what was asked for.

        ``losses`` are finite: that of a failed evaluation (see :attr:`failed`) is replaced by one
        above all finite losses so far. ``candidates`` are read-only and may be kept.
        """

    def _ask_ahead(self, count: int) -> np.ndarray:
        """Return at most ``count`` candidates (k, d) ahead of the losses of the generation.

        By default they are made of the best candidate and the differences of recent ones, as in
        differential evolution; of choices, by crossover with a recent one and a mutation.
        """
        if self._ahead_rng is None:
            self._ahead_rng = np.random.default_rng([self.seed, 1])
        rng, best = self._ahead_rng, self.best.point
        present = self._awaited.generation
        pool = np.concatenate([*self._recent, *([] if present is None else [present])])
        pairs = rng.integers(len(pool), size=(count, 2))
        if self.choices is not None:
            crossed = np.where(rng.random((count, self.dim)) < 0.5, best, pool[pairs[:, 0]])
            mutated = rng.integers(self.dim, size=count)
            crossed[np.arange(count), mutated] = rng.integers(self.choices[mutated])
            return crossed
        steps = pool[pairs[:, 0]] - pool[pairs[:, 1]]
        none = ~steps.any(axis=1)
        steps[none] = rng.standard_normal((count, self.dim))[none]
        ahead = best + rng.uniform(0.4, 1, (count, 1)) * steps
        return ahead if self._bound is None else ahead.clip(-self._bound, self._bound)

    def _tell_added(self, points: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:  # noqa: B027
        """Learn from points (k, d) that are of no generation: added, or asked ahead.

        ``losses`` are finite. By default, nothing is learned; :attr:`best` knows them.
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
