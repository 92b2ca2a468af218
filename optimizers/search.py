"""Search, which runs an optimizer on a function for minimize."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.box import Box
from craft_zoo.optimizers.comparison import Comparison
from craft_zoo.optimizers.constraints import AugmentedLagrangian, Constrained
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.evaluator import Evaluator, Failure
from craft_zoo.optimizers.losses import one_number, unmasked
from craft_zoo.optimizers.record import Record, plain
from craft_zoo.optimizers.result import Result
from craft_zoo.optimizers.variables import Variables

Function = Callable[[Any], Any]


class _Answer(NamedTuple):
    """Outcome of an evaluation; the loss is NaN, and ``error`` its exception, if it failed."""

    loss: float
    output: Any = None
    values: np.ndarray = np.zeros(0)  # of the constraints
    error: str | None = None


class Search:
    """Asks an optimizer, evaluates its candidates and tells it their losses, until it ends.

    For the arguments see :func:`craft_zoo.optimizers.minimize`.

    Args:
        sign: 1 if the function is minimised, -1 if it is maximised.

    Attributes:
        result: what was found so far.
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
        self._f, self.optimizer, self.domain, self.sign = f, optimizer, domain, sign
        self.constraints, self._evaluator, self._workers = constraints, evaluator, workers
        self._record, self.comparison, self._callback = record, comparison, callback
        self._target, self._seconds, self._stagnation = target, seconds, stagnation
        self.result = Result(self)
        self._penalised = AugmentedLagrangian(optimizer.dim) if constraints else None
        self._least = math.inf, math.inf  # violation and loss of the best single evaluation
        self._again: dict[int, np.ndarray] = {}  # points to evaluate again, numbered as asked
        self._progress = 0  # number of evaluations at the last progress
        self._pending: dict[int, np.ndarray] = {}  # candidates not told, numbered as asked
        self._open: dict[int, None] = {}  # the numbers of those that were not evaluated
        self._asked = 0
        self._more = 0  # evaluations that the budget is to be extended by
        self._answers: dict[int, _Answer] = {}  # answers that the optimizer was not told yet
        self._began = time.monotonic()
        self._deadline = math.inf

    @property
    def budget(self) -> int:
        """Largest number of evaluations, those of comparisons included."""
        return self.optimizer.budget + (self.comparison.evaluations if self.comparison else 0)

    def go_on(self, evaluations: int, f: Function | None = None, executor: Any = None) -> None:
        """Search until a reason to end; for the arguments see :meth:`Result.extend`."""
        self._f = f or self._f
        self._evaluator = Evaluator(executor or self._evaluator.executor, self._evaluator.retries)
        self._more += evaluations
        if self._stalled():
            self._progress = self.result.evaluations
        if self._reached():
            self._target = None
        self._deadline = time.monotonic() + (math.inf if self._seconds is None else self._seconds)
        self.result.reason = ""
        try:
            while not self.result.reason:
                while not self.result.reason:
                    self.result.reason = self._step() or ""
                while "after" in (line := self._line()) and line.get("asked") == self._asked:
                    self._replay()
                for number, value in self._evaluator.end(wait_for_all=True, cancel=True):
                    self._arrived(number, value)
                if self.comparison:
                    self._compare(self.comparison)
                    if "extend" in self._line():
                        self.result.reason = ""
        except BaseException as error:
            self.result.reason = f"{type(error).__name__}: {error}"
            interrupted = not isinstance(error, Exception)
            for number, value in self._evaluator.end(
                wait_for_all=not interrupted, cancel=interrupted
            ):
                with contextlib.suppress(OptimizerError):  # there may be several; one is raised
                    self._arrived(number, value)
            error.add_note(
                f"All {self.result.evaluations} evaluations are kept: the attribute `result` of "
                f"this exception is the result so far, and result.extend() goes on from there."
            )
            error.result = self.result  # type: ignore[attr-defined]
            raise

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
        if told and self._callback is not None and self._callback(self.result):
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
        # An optimizer whose losses are awaited cannot be extended.
        if not self._pending and self.optimizer._awaited.generation is None:
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
        if not (self._pending if idle is None else idle < 1) and not self.optimizer.stop:
            for z in self.optimizer.ask(idle):
                self._pending[self._asked], self._open[self._asked] = z, None
                self._asked += 1
        if self._pending:
            return None
        spent = self.comparison and self.optimizer.remaining <= 0
        return f"the budget of {self.budget} is spent" if spent else self.optimizer.stop

    def _extend_by(self, evaluations: int) -> None:
        self._again.clear()
        kept_back = self.comparison.extend(evaluations) if self.comparison else 0
        self.optimizer.extend(evaluations - kept_back)

    def _compare(self, comparison: Comparison) -> None:
        """Evaluate again the points that may be the best, and take the one of the least mean."""
        optimizer, reason = self.optimizer, self.result.reason
        has_tried_all = optimizer.choices is not None and optimizer.remaining > 0
        has_tried_all = has_tried_all and reason == optimizer.stop
        unspent = self.budget - self.result.evaluations if has_tried_all else 0
        for z in comparison.points(optimizer, unspent, rounded=self.domain.rounded):
            self._again[self._asked] = z
            self._asked += 1
        self.result.reason = ""
        while self._again and "extend" not in self._line():
            if self._evaluate_one(self._again) is None:
                break
        self.result.reason = reason
        for number, value in self._evaluator.end(wait_for_all=True, cancel=True):
            self._arrived(number, value)
        if not self._again and comparison.decide():
            assert comparison.best is not None
            self.result.x, self.result.loss = self.domain.point(comparison.best), comparison.mean
            self.result.noise = comparison.noise

    def _point(self, number: int) -> Any:
        z = self._again[number] if number in self._again else self._pending[number]
        return self.domain.point(z).copy()

    @property
    def _evaluate(self) -> Function:
        return Constrained(self._f, self.constraints) if self.constraints else self._f

    def _arrived(self, number: int, value: Any) -> bool:
        """Keep the value that ``f`` returned; returns whether the optimizer was told something."""
        output, values = None, np.zeros(0)
        if isinstance(value, Failure):
            answer = _Answer(math.nan, error=value.text)
        else:
            if self.constraints:
                value, values = value
            if self.optimizer.output_loss is not None:
                output = np.asarray(unmasked(value))
                value, _ = self.optimizer.output_loss(output)
            answer = _Answer(one_number(value), output, values)
        seconds = time.monotonic() - self._began
        if self._record is not None:
            line = {"n": number, "asked": self._asked, "x": self._point(number)}
            line |= {"loss": answer.loss, "seconds": seconds}
            if self.constraints:
                line["constraints"] = values
            if answer.error is not None:
                line["error"] = answer.error
            if self.result.reason:  # the evaluation was running when the search ended
                line["after"] = self.result.reason
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
        known = known and ("constraints" in line) == bool(self.constraints)
        if not known or plain(self._point(number)) != line.get("x"):
            raise OptimizerError(
                f"record {str(self._record.path)!r} is of another search: evaluation "
                f"{self.result.evaluations + 1} was of another point, or with other constraints; "
                f"give another path"
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
        self.result._add(x, loss, violation, answer.error, seconds)
        if number in self._again:
            assert self.comparison is not None
            self.comparison.add_repeated(self._again.pop(number), loss)
            return False
        rank = violation, self.sign * loss
        if self.comparison:
            self.comparison.add(self._pending[number], loss)
        if math.isfinite(loss) and rank < self._least:
            self._least, self._progress = rank, self.result.evaluations
            if not (self.comparison and self.comparison.begun):
                self.result.x, self.result.loss, self.result.violation = x, loss, violation
        self._answers[number] = answer
        del self._open[number]
        if self._workers is None and self._open:
            return False
        told = [n for n in self._pending if n in self._answers]
        candidates = np.stack([self._pending.pop(n) for n in told])
        answers = [self._answers.pop(n) for n in told]
        losses = [self.sign * each.loss for each in answers]
        if self._penalised is not None:
            losses = self._penalised(losses, [each.values for each in answers])
        learns = self.optimizer.output_loss is not None
        outputs = [each.output for each in answers] if learns else None
        if self._workers is None:
            self.optimizer.tell(candidates, losses, outputs)
        else:
            self.optimizer.tell(candidates[0], np.array(losses[0]), outputs and outputs[0])
        return True

    def _stalled(self) -> bool:
        since = self.result.evaluations - self._progress
        return self._stagnation is not None and since >= self._stagnation

    def _reached(self) -> bool:
        violation, loss = self._least
        if self._target is None or violation > 0:
            return False
        return loss - self.sign * self._target <= 0
