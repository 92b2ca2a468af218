"""minimize and maximize, a whole search in one call, and Result, what it finds."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor, wait
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.optimizers.base import Optimizer, OutputLoss, one_number
from craft_zoo.optimizers.box import Box
from craft_zoo.optimizers.constraints import AugmentedLagrangian, Constrained, checked
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import whole_number
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
    callback: Callable[[Result], Any] | None = None,
    executor: Executor | None = None,
    output_loss: OutputLoss | None = None,
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
        callback: called with the :class:`Result` so far after each generation; a true answer ends
            the search.
        executor: evaluates the candidates of a generation at the same time.
        output_loss: for optimizers that learn from outputs: ``f`` then returns an array (logits,
            residuals), of which this convex function gives the loss and its gradient.
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
    seed = secrets.randbits(32) if seed is None else whole_number("seed", seed, 0)
    functions = () if constraints is None else checked(constraints)
    about = {
        "outputs": output_loss is not None,
        # Penalties change from generation to generation, which line searches and models cannot use.
        "parallel": executor is not None or bool(functions),
        "rounded": domain.rounded,
    }
    given = about if optimizer.partition(":")[0] == "auto" else {}
    made = create(optimizer, domain.space, budget=budget, seed=seed, **given)
    if made.learns_from_outputs and output_loss is None:
        raise OptimizerError(
            f"{optimizer!r} learns from outputs: give output_loss, and an f that returns outputs"
        )
    if maximize and output_loss is not None:
        raise OptimizerError("outputs have a convex loss, which has no maximum: minimise it")
    if functions and output_loss is not None:
        raise OptimizerError("outputs are not penalised: leave out constraints or output_loss")
    made.output_loss = output_loss
    result = Result(f, made, domain, -1.0 if maximize else 1.0)
    result._executor, result._callback = executor, callback
    result._target, result._seconds = target, seconds
    if functions:
        result._constraints, result.violation = functions, math.inf
        result._penalised = AugmentedLagrangian(made.dim)
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


class Result:
    """A search by :func:`minimize`: what it has found, and how to go on.

    Attributes:
        x: the best of the evaluated points, an array in the shape of ``x0``, or a dict or list as
            the space; the start if none succeeded. Under constraints, the best feasible one if
            there is any, else that of the least violation.
        loss: the value of ``f`` there; ±inf if none succeeded.
        violation: the largest value of the constraints there; 0 if it is feasible.
        reason: why the search ended.
    """

    def __init__(
        self, f: Function, optimizer: Optimizer, domain: Box | Variables, sign: float
    ) -> None:
        self._f, self._optimizer, self._domain, self._sign = f, optimizer, domain, sign
        self.x: Any = domain.start.copy()
        self.loss, self.violation, self.reason = sign * math.inf, 0.0, "not started"
        self._constraints: tuple[Function, ...] = ()
        self._penalised: AugmentedLagrangian | None = None
        self._executor: Executor | None = None
        self._callback: Callable[[Result], Any] | None = None
        self._target: float | None = None
        self._seconds: float | None = None
        self._waiting = np.zeros((0, optimizer.dim))  # candidates whose losses were not yet told
        self._more = 0  # evaluations by which the optimizer is to be extended
        # loss, output and values of the constraints by row of these
        self._answers: dict[int, tuple[float, Any, np.ndarray]] = {}
        self._violations: list[float] = []
        self._losses: list[float] = []
        self._points: list[Any] = []  # none of arrays
        self._times: list[float] = []
        self._began = time.monotonic()
        self._deadline = math.inf

    @property
    def evaluations(self) -> int:
        """Number of evaluations so far."""
        return len(self._losses)

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
        the best feasible loss), and one for each variable of a space (of a list, x0, x1, …).
        """
        import pandas as pd

        losses = np.array(self._losses, dtype=np.float64)
        best = np.fmin if self._sign > 0 else np.fmax
        good, violations = np.isfinite(losses), {}
        if self._constraints:
            violations = {"violation": self._violations}
            good &= np.array(self._violations) == 0
        return pd.DataFrame(
            {
                "evaluation": np.arange(1, len(losses) + 1),
                "loss": losses,
                "best": best.accumulate(np.where(good, losses, np.nan)),
                "seconds": self._times,
                **violations,
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
        if table["best"].min() > 0:
            axes.set_yscale("log")
        axes.set(xlabel="evaluations", ylabel="loss", title=self.optimizer)
        axes.legend()
        return axes

    def __repr__(self) -> str:
        if isinstance(self.x, np.ndarray):
            x = np.array2string(self.x, precision=6, threshold=10, edgeitems=3, max_line_width=80)
        else:
            x = repr(self.x)
        return "\n".join(
            [
                f"loss         {self.loss:.9g}",
                f"x            {x}".replace("\n", "\n" + 13 * " "),
                *([f"violation    {self.violation:.3g}"] if self._constraints else []),
                f"evaluations  {self.evaluations} of {self._optimizer.budget}",
                f"ended        {self.reason}",
                f"optimizer    {self.optimizer}, seed {self.seed}",
            ]
        )

    def extend(
        self, evaluations: int = 0, *, f: Function | None = None, executor: Executor | None = None
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
        self._f, self._executor = f or self._f, executor or self._executor
        self._more += whole_number("extension", evaluations, 0)
        if self._reached():
            self._target = None
        self._deadline = time.monotonic() + (math.inf if self._seconds is None else self._seconds)
        self.reason = ""
        try:
            while not self.reason:
                self.reason = self._generation() or ""
        except BaseException as error:
            self.reason = f"{type(error).__name__}: {error}"
            error.add_note(
                f"All {self.evaluations} evaluations are kept: the attribute `result` of this "
                f"exception is the result so far, and result.extend() goes on from there."
            )
            error.result = self  # type: ignore[attr-defined]
            raise
        return self

    def _generation(self) -> str | None:
        """Evaluate a generation, or the rest of one, and tell its losses.

        Returns:
            The reason to end, if there is one.
        """
        if not len(self._waiting):
            self._optimizer.extend(self._more)
            self._more = 0
            if reason := self._optimizer.stop:
                return reason
            self._waiting, self._answers = self._optimizer.ask(), {}
        points = {i: z for i, z in enumerate(self._waiting) if i not in self._answers}
        evaluate = self._one_by_one if self._executor is None else self._together
        evaluate({i: self._domain.point(z) for i, z in points.items()})
        answers = [self._answers[i] for i in range(len(self._waiting)) if i in self._answers]
        # An executor may leave gaps; they are filled before the losses are told.
        if answers and max(self._answers) < len(answers):
            candidates, self._waiting = self._waiting[: len(answers)], self._waiting[:0]
            losses = [self._sign * loss for loss, _, _ in answers]
            outputs = [output for _, output, _ in answers]
            if self._penalised is not None:
                losses = self._penalised(losses, [values for _, _, values in answers])
            learns = self._optimizer.output_loss is not None
            self._optimizer.tell(candidates, losses, outputs if learns else None)
        if self._reached():
            return f"the target of {self._target:g} is reached"
        if time.monotonic() >= self._deadline:
            return f"{self._seconds:g} seconds are over"
        if answers and self._callback is not None and self._callback(self):
            return "the callback asked to end"
        return None

    def _one_by_one(self, points: dict[int, Any]) -> None:
        for i, x in points.items():
            if self._reached() or time.monotonic() >= self._deadline:
                return
            self._note(i, x, self._evaluate(x.copy()))

    def _together(self, points: dict[int, Any]) -> None:
        assert self._executor is not None
        if time.monotonic() >= self._deadline:
            return
        futures = {}
        wrong: Exception | None = None
        try:
            for i, x in points.items():
                futures[i] = self._executor.submit(self._evaluate, x.copy())
            wait(futures.values())
        finally:  # whatever happens, what has been evaluated is kept
            for i, each in futures.items():
                if not each.cancel() and each.done() and each.exception() is None:
                    try:
                        self._note(i, points[i], each.result())
                    except Exception as error:
                        wrong = wrong or error
        for each in futures.values():
            each.result()  # raises the exception of its call, if there is one
        if wrong is not None:
            raise wrong

    @property
    def _evaluate(self) -> Function:
        return Constrained(self._f, self._constraints) if self._constraints else self._f

    def _note(self, i: int, x: Any, answer: Any) -> None:
        output, violation, values = None, 0.0, np.zeros(0)
        if self._constraints:
            answer, values = answer
            violation = float(np.max(values, initial=0.0))  # NaN if one of them is
            self._violations.append(violation)
        if self._optimizer.output_loss is not None:
            output = np.asarray(answer)
            answer, _ = self._optimizer.output_loss(output)
        loss = one_number(answer)
        self._answers[i] = loss, output, values
        self._losses.append(loss)
        self._times.append(time.monotonic() - self._began)
        if not isinstance(x, np.ndarray):
            self._points.append(x)
        rank = violation, self._sign * loss
        if math.isfinite(loss) and rank < (self.violation, self._sign * self.loss):
            self.x, self.loss, self.violation = x.copy(), loss, violation

    def _reached(self) -> bool:
        if self._target is None or self.violation > 0:
            return False
        return self._sign * (self.loss - self._target) <= 0
