"""minimize and maximize, a whole search in one call, and Result, what it finds."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from craft_zoo.optimizers.auto import options_for
from craft_zoo.optimizers.base import Optimizer, OutputLoss, one_number
from craft_zoo.optimizers.box import Box
from craft_zoo.optimizers.comparison import Comparison
from craft_zoo.optimizers.constraints import AugmentedLagrangian, Constrained, checked
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.evaluator import Evaluator, Failure
from craft_zoo.optimizers.option import whole_number
from craft_zoo.optimizers.record import Record, plain
from craft_zoo.optimizers.registry import create, searches
from craft_zoo.optimizers.variables import Variables

if TYPE_CHECKING:
    import pandas as pd

Function = Callable[[Any], Any]


def minimize(
    f: Function,
    x0: Any = None,
    *,
    budget: int,
    bounds: Any = None,
    scale: Any = None,
    space: Any = None,
    constraints: Any = None,
    optimizer: str = "auto",
    seed: int | None = None,
    target: float | None = None,
    seconds: float | None = None,
    stagnation: int | None = None,
    callback: Callable[[Result], Any] | None = None,
    executor: Any = None,
    workers: int | None = None,
    retries: int | None = None,
    record: Any = None,
    output_loss: OutputLoss | None = None,
    noisy: bool = False,
    maximize: bool = False,
) -> Result:
    """Minimise a function of real or mixed variables that can only be evaluated.

    Args:
        f: takes an array of the shape of ``x0``, or a dict or list as ``space``, and returns its
            loss: a number, or an array or tensor of one element. NaN or ±inf means that the
            evaluation failed; the search goes on.
        x0: the start, a number or an array. None: the middle of the bounds. With ``space``, a list,
            or a dict of some of the variables; the others start at their middle or first value.
        budget: largest number of evaluations.
        bounds: a pair (low, high) for all variables, or a sequence of pairs, one for each variable
            in the order of ``x0.ravel()``, or scipy's ``Bounds``. None in a pair: no bound. Points
            beyond a bound are reflected at it.
        scale: length of a good first step in each variable, a number or an array of the shape of
            ``x0``. None: a fifth of the distance between the bounds, 1 where there are not two.
        space: in place of ``bounds`` and ``scale``, variables that may be whole numbers or choices:
            a dict or a list of :class:`Real`, :class:`Integer` and :class:`Choice`. ``f`` gets a
            dict or a list of plain Python values.
        constraints: a function of x, or several, each of which returns one number or an array: x is
            feasible where all are at most 0. They are evaluated with ``f``, everywhere, and added
            to the loss that the optimizer is told (augmented Lagrangian). For an equality h(x) = 0
            give two: h(x) - ε and -h(x) - ε.
        optimizer: as for :func:`craft_zoo.optimizers.create`. Of whole numbers it sees real
            variables, which are rounded; of choices, a score for each value, the highest of which
            decides. One that can search choices does so if there are no other variables.
        seed: seed of all randomness. None draws one, see :attr:`Result.seed`.
        target: end at a loss of at most this.
        seconds: start no evaluation after this time.
        stagnation: end after this many evaluations in a row without a better one.
        callback: called with the :class:`Result` so far after each generation, with ``workers``
            after each evaluation; a true answer ends the search.
        executor: evaluates the candidates of a generation at the same time: an object with the
            method ``submit`` of ``concurrent.futures``, or a function that makes one, which is
            called again if the executor dies.
        workers: keep this many evaluations running, so that none waits for another: the optimizer
            is told each loss when it arrives, and asked for another candidate. Without ``executor``
            they are threads.
        retries: how often an evaluation that raised an exception, or whose process died, is made
            again before it counts as failed. None: the exception is raised.
        record: path of a file to which each evaluation is appended when it arrives. A new call with
            the same arguments continues from it, as if it had never ended.
        output_loss: for optimizers that learn from outputs: ``f`` then returns an array (logits,
            residuals), of which this convex function gives the loss and its gradient.
        noisy: whether evaluations of the same point differ. Up to a tenth of the budget, at most 60
            evaluations, is then kept for the end: the recommended point, the minimum of a quadratic
            function fitted to all losses, the start and the point of the least loss are evaluated
            again, and :attr:`Result.x` is the one with the least mean. Where all combinations of
            choices were tried, up to 15 evaluations of each take what is left of the budget. A
            target and stagnation still look at single losses.
        maximize: look for the largest value instead; ``target`` and the values in the result keep
            the sign of ``f``.

    Raises:
        OptimizerError: an argument is wrong, or ``f`` returned something else than a number.
        Exception: whatever ``f`` or ``callback`` raises. No evaluation is lost: the exception's
            attribute ``result`` is the :class:`Result` so far, and ``result.extend()`` goes on.
    """
    for what, function in (("f", f), ("callback", callback)):
        if not callable(function) and (what == "f" or function is not None):
            raise OptimizerError(f"{what} must be a function, not {function!r:.100}")
    if not isinstance(optimizer, str):
        raise OptimizerError(
            f"optimizer must be a spec such as 'auto' or 'cma:popsize=10', not {optimizer!r:.100}"
        )
    target, seconds = _limit("target", target), _limit("seconds", seconds)
    if space is None:
        domain: Box | Variables = Box(x0, bounds, scale)
    elif bounds is not None or scale is not None:
        raise OptimizerError(
            "the variables of space have bounds of their own: leave out bounds and scale"
        )
    else:
        domain = Variables(space, x0, natively=searches(optimizer, choices=True))
    kept = None if record is None else Record(record)
    if seed is None and kept is not None and kept.search is not None:
        seed = kept.search.get("seed")
    seed = secrets.randbits(32) if seed is None else whole_number("seed", seed, 0)
    functions = () if constraints is None else checked(constraints)
    if workers is not None:
        workers = whole_number("workers", workers, 1)
        executor = partial(ThreadPoolExecutor, workers) if executor is None else executor
    if retries is not None:
        retries = whole_number("retries", retries, 0)
    if stagnation is not None:
        stagnation = whole_number("stagnation", stagnation, 1)
    options = options_for(
        optimizer,
        outputs=output_loss is not None,
        # Penalties change from generation to generation, which line searches and models cannot use.
        parallel=executor is not None or bool(functions),
        rounded=domain.rounded,
        noisy=noisy,
    )
    sign = -1.0 if maximize else 1.0
    comparison = Comparison(whole_number("budget", budget, 1), sign) if noisy else None
    searched = budget - comparison.evaluations if comparison else budget
    made = create(optimizer, domain.space, budget=searched, seed=seed, **options)
    if made.learns_from_outputs and output_loss is None:
        raise OptimizerError(
            f"{optimizer!r} learns from outputs: give output_loss, and an f that returns outputs"
        )
    if maximize and output_loss is not None:
        raise OptimizerError("outputs have a convex loss, which has no maximum: minimise it")
    for what, given in (("constraints", functions), ("record", kept), ("retries", retries)):
        if output_loss is not None and given not in (None, ()):
            raise OptimizerError(f"{what} cannot be used with output_loss: leave out one of them")
    if noisy and (functions or output_loss is not None):
        raise OptimizerError("noisy cannot be used with constraints or output_loss: leave out one")
    made.output_loss = output_loss
    result = Result(
        f,
        made,
        domain,
        sign,
        constraints=functions,
        evaluator=Evaluator(executor, retries),
        workers=workers,
        record=kept,
        comparison=comparison,
        callback=callback,
        target=target,
        seconds=seconds,
        stagnation=stagnation,
    )
    if kept is not None:
        search = {"optimizer": optimizer, "seed": seed, "budget": made.budget, "workers": workers}
        search |= {"noisy": True} if noisy else {}
        kept.begin(search | {"variables": made.dim, "maximize": maximize})
    return result.extend()


def maximize(f: Function, x0: Any = None, **arguments: Any) -> Result:
    """:func:`minimize` with ``maximize=True``."""
    return minimize(f, x0, maximize=True, **arguments)


def _limit(what: str, value: Any) -> float | None:
    try:
        number = None if value is None else one_number(value)
    except OptimizerError:
        number = math.nan
    if number is not None and math.isnan(number):
        raise OptimizerError(f"{what} must be a number or None, not {value!r:.100}")
    return number


class _Answer(NamedTuple):
    """Outcome of an evaluation; the loss is NaN, and ``error`` its exception, if it failed."""

    loss: float
    output: Any = None
    values: np.ndarray = np.zeros(0)  # of the constraints
    error: str | None = None


class Result:
    """A search by :func:`minimize`: what it has found, and how to go on.

    Attributes:
        x: the best of the evaluated points, an array in the shape of ``x0``, or a dict or list as
            the space; the start if none succeeded. Under constraints, the best feasible one if
            there is any, else that of the least violation. With ``noisy``, the one of the least
            mean of repeated evaluations, which may be another than those of the search.
        loss: the value of ``f`` there; ±inf if none succeeded. With ``noisy``, the mean.
        noise: with ``noisy``, the standard deviation of an evaluation, estimated from those that
            were repeated; NaN if there are none.
        violation: the largest value of the constraints there; 0 if it is feasible.
        reason: why the search ended.
    """

    def __init__(
        self,
        f: Function,
        optimizer: Optimizer,
        domain: Box | Variables,
        sign: float,
        *,
        constraints: tuple[Function, ...],
        evaluator: Evaluator,
        workers: int | None,
        record: Record | None,
        comparison: Comparison | None,
        callback: Callable[[Result], Any] | None,
        target: float | None,
        seconds: float | None,
        stagnation: int | None,
    ) -> None:
        self._f, self._optimizer, self._domain, self._sign = f, optimizer, domain, sign
        self._constraints, self._evaluator, self._workers = constraints, evaluator, workers
        self._record, self._comparison, self._callback = record, comparison, callback
        self._target, self._seconds, self._stagnation = target, seconds, stagnation
        self.x: Any = domain.start.copy()
        self.loss, self.noise, self.reason = sign * math.inf, math.nan, "not started"
        self.violation = math.inf if constraints else 0.0
        self._penalised = AugmentedLagrangian(optimizer.dim) if constraints else None
        self._least = math.inf, math.inf  # violation and loss of the best single evaluation
        self._again: dict[int, np.ndarray] = {}  # points to evaluate again, numbered as asked
        self._progress = 0  # number of evaluations at the last progress
        self._pending: dict[int, np.ndarray] = {}  # candidates not told, numbered as asked
        self._open: dict[int, None] = {}  # the numbers of those that were not evaluated
        self._asked = 0
        self._more = 0  # evaluations that the budget is to be extended by
        self._answers: dict[int, _Answer] = {}  # answers that the optimizer was not told yet
        self._errors: list[str | None] = []
        self._violations: list[float] = []
        self._losses: list[float] = []
        self._points: list[Any] = []  # all points, if they are no arrays
        self._times: list[float] = []
        self._began = time.monotonic()
        self._deadline = math.inf

    @property
    def evaluations(self) -> int:
        """Number of evaluations so far."""
        return len(self._losses)

    @property
    def _budget(self) -> int:
        return self._optimizer.budget + (self._comparison.evaluations if self._comparison else 0)

    @property
    def optimizer(self) -> str:
        """The optimizer's spec; ``auto`` gives what it chose. With :attr:`seed` and the other
        arguments of the call it repeats the search."""
        return self._optimizer.spec

    @property
    def seed(self) -> int:
        """Seed of the search."""
        return self._optimizer.seed

    @property
    def recommended(self) -> Any:
        """The point that the optimizer recommends, of the kind of :attr:`x`.

        It is another than :attr:`x` if the optimizer recommends the mean of many points, which
        is the better choice where losses are noisy. It may violate constraints.
        """
        return self._domain.point(self._optimizer.recommend())

    @property
    def history(self) -> pd.DataFrame:
        """A table with a row for each evaluation.

        Columns: evaluation (from 1), loss, best (so far; NaN before the first success), seconds
        (since the start of the search), with constraints violation (0 where feasible; best is then
        the best feasible loss), error (the exceptions of evaluations that failed in all tries, if
        there are any), and one for each variable of a space (of a list, x0, x1, …).
        """
        import pandas as pd

        losses = np.array(self._losses, dtype=np.float64)
        best = np.fmin if self._sign > 0 else np.fmax
        good = np.isfinite(losses)
        more: dict[str, list[Any]] = {}
        if any(self._errors):
            more["error"] = self._errors
        if self._constraints:
            more["violation"] = self._violations
            good &= np.array(self._violations) == 0
        return pd.DataFrame(
            {
                "evaluation": np.arange(1, len(losses) + 1),
                "loss": losses,
                "best": best.accumulate(np.where(good, losses, np.nan)),
                "seconds": self._times,
                **more,
                **self._domain.table(self._points),
            }
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw all losses and the best so far against evaluations.

        Args:
            axes: matplotlib's axes; None makes new ones.

        Returns:
            The axes; ``axes.figure.savefig(path)`` writes them to a file.
        """
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots()[1]
        table = self.history
        axes.plot(table["evaluation"], table["loss"], ".", color="0.75", label="each evaluation")
        axes.plot(table["evaluation"], table["best"], label="best so far")
        if table["loss"].min() > 0:
            axes.set_yscale("log")
        axes.set(xlabel="evaluations", ylabel="loss", title=self.optimizer)
        axes.legend()
        return axes

    def __repr__(self) -> str:
        if isinstance(self.x, np.ndarray):
            x = np.array2string(self.x, precision=6, threshold=10, edgeitems=3, max_line_width=80)
        else:
            x = repr(self.x)
        mean = ""
        if self._comparison and self._comparison.count > 1:
            error = self.noise / math.sqrt(self._comparison.count)
            mean = f" (mean of {self._comparison.count}, standard error {error:.2g})"
        count = self.evaluations - int(np.isfinite(self._losses).sum())
        failed = f", {count} failed" if count else ""
        return "\n".join(
            [
                f"loss         {self.loss:.9g}{mean}",
                f"x            {x}".replace("\n", "\n" + 13 * " "),
                *([f"violation    {self.violation:.3g}"] if self._constraints else []),
                *([f"noise        {self.noise:.3g}"] if self._comparison else []),
                f"evaluations  {self.evaluations} of {self._budget}{failed}",
                f"ended        {self.reason}",
                f"optimizer    {self.optimizer}, seed {self.seed}",
            ]
        )

    def extend(
        self, evaluations: int = 0, *, f: Function | None = None, executor: Any = None
    ) -> Result:
        """Go on where the search stopped, whatever stopped it.

        The optimizer keeps what it has learned. A limit of seconds starts anew; a target that was
        reached no longer counts.

        Args:
            evaluations: added to the budget.
            f: replaces the function, for example one that raised an exception.
            executor: replaces the executor.

        Returns:
            This result, updated.

        Raises:
            Exception: as :func:`minimize`.
        """
        self._f = f or self._f
        self._evaluator = Evaluator(executor or self._evaluator.executor, self._evaluator.retries)
        self._more += whole_number("extension", evaluations, 0)
        if self._stalled():
            self._progress = self.evaluations
        if self._reached():
            self._target = None
        self._deadline = time.monotonic() + (math.inf if self._seconds is None else self._seconds)
        self.reason = ""
        try:
            while not self.reason:
                while not self.reason:
                    self.reason = self._step() or ""
                while "after" in (line := self._line()) and line.get("asked") == self._asked:
                    self._replay()
                for number, value in self._evaluator.end(wait_for_all=True, cancel=True):
                    self._arrived(number, value)
                if self._comparison:
                    self._compare(self._comparison)
                    if "extend" in self._line():
                        self.reason = ""
        except BaseException as error:
            self.reason = f"{type(error).__name__}: {error}"
            interrupted = not isinstance(error, Exception)
            for number, value in self._evaluator.end(
                wait_for_all=not interrupted, cancel=interrupted
            ):
                with contextlib.suppress(OptimizerError):  # there may be several; one is raised
                    self._arrived(number, value)
            error.add_note(
                f"All {self.evaluations} evaluations are kept: the attribute `result` of this "
                f"exception is the result so far, and result.extend() goes on from there."
            )
            error.result = self  # type: ignore[attr-defined]
            raise
        return self

    def _step(self) -> str | None:
        """Ask if necessary, wait for an evaluation, and tell the losses of a complete generation.

        Returns:
            The reason to end, if there is one.
        """
        if reason := self._ask():
            return reason
        told = self._evaluate_one(self._open)
        if told is None:
            return None if self._seconds is None else f"{self._seconds:g} seconds are over"
        if self._reached():
            return f"the target of {self._target:g} is reached"
        if self._stalled():
            return f"{self._stagnation} evaluations brought no progress"
        if told and self._callback is not None and self._callback(self):
            return "the callback asked to end"
        return None

    def _evaluate_one(self, numbers: Collection[int]) -> bool | None:
        """Take an evaluation from the record, or make one of those with these numbers.

        Returns:
            Whether the optimizer was told something; None if the time is over.
        """
        if self._line():
            return self._replay()
        left = self._deadline - time.monotonic()
        if left <= 0:
            return None
        timeout = None if math.isinf(left) else left
        found = self._evaluator.next(self._evaluate, numbers, self._point, timeout)
        return None if found is None else self._arrived(*found)

    def _ask(self) -> str | None:
        """Ask for a generation, or for as many candidates as there are idle workers."""
        if not self._pending and self._optimizer._asked is None:  # else it cannot be extended
            while self._record is not None and "extend" in self._line():
                self._extend_by(self._record.take()["extend"])
            if self._more:
                self._extend_by(self._more)
                if self._record is not None:
                    self._record.write({"extend": self._more})
                self._more = 0
        idle = None if self._workers is None else self._workers - len(self._pending)
        if idle is not None and self._line():  # as many as were asked at this line
            idle = self._line().get("asked", 0) - self._asked
        if not (self._pending if idle is None else idle < 1) and not self._optimizer.stop:
            for z in self._optimizer.ask(idle):
                self._pending[self._asked], self._open[self._asked] = z, None
                self._asked += 1
        if self._pending:
            return None
        spent = self._comparison and self._optimizer.remaining <= 0
        return f"the budget of {self._budget} is spent" if spent else self._optimizer.stop

    def _extend_by(self, evaluations: int) -> None:
        self._again.clear()
        kept_back = self._comparison.extend(evaluations) if self._comparison else 0
        self._optimizer.extend(evaluations - kept_back)

    def _compare(self, comparison: Comparison) -> None:
        """Evaluate again the points that may be the best, and take the one of the least mean."""
        optimizer, reason = self._optimizer, self.reason
        has_tried_all = optimizer.choices is not None and optimizer.remaining > 0
        has_tried_all = has_tried_all and reason == optimizer.stop
        unspent = self._budget - self.evaluations if has_tried_all else 0
        for z in comparison.points(optimizer, unspent, rounded=self._domain.rounded):
            self._again[self._asked] = z
            self._asked += 1
        self.reason = ""
        while self._again and "extend" not in self._line():
            if self._evaluate_one(self._again) is None:
                break
        self.reason = reason
        for number, value in self._evaluator.end(wait_for_all=True, cancel=True):
            self._arrived(number, value)
        if not self._again and comparison.decide():
            assert comparison.best is not None
            self.x, self.loss = self._domain.point(comparison.best), comparison.mean
            self.noise = comparison.noise

    def _point(self, number: int) -> Any:
        z = self._again[number] if number in self._again else self._pending[number]
        return self._domain.point(z).copy()

    @property
    def _evaluate(self) -> Function:
        return Constrained(self._f, self._constraints) if self._constraints else self._f

    def _arrived(self, number: int, value: Any) -> bool:
        """Keep the value that ``f`` returned; returns whether the optimizer was told something."""
        output, values = None, np.zeros(0)
        if isinstance(value, Failure):
            answer = _Answer(math.nan, error=value.text)
        else:
            if self._constraints:
                value, values = value
            if self._optimizer.output_loss is not None:
                output = np.asarray(value)
                value, _ = self._optimizer.output_loss(output)
            answer = _Answer(one_number(value), output, values)
        seconds = time.monotonic() - self._began
        if self._record is not None:
            line = {"n": number, "asked": self._asked, "x": self._point(number)}
            line |= {"loss": answer.loss, "seconds": seconds}
            if self._constraints:
                line["constraints"] = values
            if answer.error is not None:
                line["error"] = answer.error
            if self.reason:  # the evaluation was running when the search ended
                line["after"] = self.reason
            self._record.write(plain(line))
        return self._note(number, answer, seconds)

    def _line(self) -> dict[str, Any]:
        """The next line of the record; empty if there is none."""
        return {} if self._record is None else self._record.next

    def _replay(self) -> bool:
        """Take the next evaluation from the record instead of making it."""
        assert self._record is not None
        line = self._record.take()
        number = line.get("n", -1)
        known = number in self._open or number in self._again
        known = known and ("constraints" in line) == bool(self._constraints)
        if not known or plain(self._point(number)) != line.get("x"):
            raise OptimizerError(
                f"record {str(self._record.path)!r} is of another search: evaluation "
                f"{self.evaluations + 1} was of another point, or with other constraints; give "
                f"another path"
            )
        loss = math.nan if line["loss"] is None else float(line["loss"])
        values = np.array(line.get("constraints", []), dtype=np.float64)
        self._began = time.monotonic() - line["seconds"]
        answer = _Answer(loss, None, values, line.get("error"))
        return self._note(number, answer, line["seconds"])

    def _note(self, number: int, answer: _Answer, seconds: float) -> bool:
        """Keep an answer, and tell it, or the generation that it completes."""
        x, loss = self._point(number), answer.loss
        violation = math.nan if answer.error else float(np.max(answer.values, initial=0.0))
        self._losses.append(loss)
        self._times.append(seconds)
        self._errors.append(answer.error)
        self._violations.append(violation)
        if not isinstance(x, np.ndarray):
            self._points.append(x)
        if number in self._again:
            assert self._comparison is not None
            self._comparison.add_repeated(self._again.pop(number), loss)
            return False
        rank = violation, self._sign * loss
        if self._comparison:
            self._comparison.add(self._pending[number], loss)
        if math.isfinite(loss) and rank < self._least:
            self._least, self._progress = rank, self.evaluations
            if not (self._comparison and self._comparison.begun):
                self.x, self.loss, self.violation = x, loss, violation
        self._answers[number] = answer
        del self._open[number]
        if self._workers is None and self._open:
            return False
        told = [n for n in self._pending if n in self._answers]
        candidates = np.stack([self._pending.pop(n) for n in told])
        answers = [self._answers.pop(n) for n in told]
        losses = [self._sign * each.loss for each in answers]
        if self._penalised is not None:
            losses = self._penalised(losses, [each.values for each in answers])
        learns = self._optimizer.output_loss is not None
        outputs = [each.output for each in answers] if learns else None
        if self._workers is None:
            self._optimizer.tell(candidates, losses, outputs)
        else:
            self._optimizer.tell(candidates[0], np.array(losses[0]), outputs and outputs[0])
        return True

    def _stalled(self) -> bool:
        since = self.evaluations - self._progress
        return self._stagnation is not None and since >= self._stagnation

    def _reached(self) -> bool:
        violation, loss = self._least
        if self._target is None or violation > 0:
            return False
        return loss - self._sign * self._target <= 0
