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
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.option import whole_number
from craft_zoo.optimizers.registry import create

if TYPE_CHECKING:
    import pandas as pd

Function = Callable[[np.ndarray], Any]


def minimize(
    f: Function,
    x0: Any = None,
    *,
    budget: int,
    bounds: Any = None,
    scale: Any = None,
    optimizer: str = "auto",
    seed: int | None = None,
    target: float | None = None,
    seconds: float | None = None,
    callback: Callable[[Result], Any] | None = None,
    executor: Executor | None = None,
    output_loss: OutputLoss | None = None,
    maximize: bool = False,
) -> Result:
    """Minimise a function of real variables that can only be evaluated.

    Args:
        f: takes an array of the shape of ``x0`` and returns its loss: a number, or an array or
            tensor of one element. NaN or ±inf means that the evaluation failed; the search goes on.
        x0: the start, a number or an array. None: the middle of the bounds.
        budget: largest number of evaluations.
        bounds: a pair (low, high) for all variables, or a sequence of pairs, one for each variable
            in the order of ``x0.ravel()``, or scipy's ``Bounds``. None in a pair: no bound. Points
            beyond a bound are reflected at it.
        scale: length of a good first step in each variable, a number or an array of the shape of
            ``x0``. None: a fifth of the distance between the bounds, 1 where there are not two.
        optimizer: as for :func:`craft_zoo.optimizers.create`.
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
    space = _Box(x0, bounds, scale)
    seed = secrets.randbits(32) if seed is None else whole_number("seed", seed, 0)
    about = {"outputs": output_loss is not None, "parallel": executor is not None}
    given = about if optimizer.partition(":")[0] == "auto" else {}
    made = create(optimizer, space.start.size, budget=budget, seed=seed, **given)
    if made.learns_from_outputs and output_loss is None:
        raise OptimizerError(
            f"{optimizer!r} learns from outputs: give output_loss, and an f that returns outputs"
        )
    if maximize and output_loss is not None:
        raise OptimizerError("outputs have a convex loss, which has no maximum: minimise it")
    made.output_loss = output_loss
    result = Result(f, made, space, -1.0 if maximize else 1.0)
    result._executor, result._callback = executor, callback
    result._target, result._seconds = target, seconds
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
        x: the best of the evaluated points, in the shape of ``x0``; ``x0`` if none succeeded.
        loss: the value of ``f`` there; ±inf if none succeeded.
        reason: why the search ended.
    """

    def __init__(self, f: Function, optimizer: Optimizer, space: _Box, sign: float) -> None:
        self._f, self._optimizer, self._space, self._sign = f, optimizer, space, sign
        self.x, self.loss, self.reason = space.start.copy(), sign * math.inf, "not started"
        self._executor: Executor | None = None
        self._callback: Callable[[Result], Any] | None = None
        self._target: float | None = None
        self._seconds: float | None = None
        self._waiting = np.zeros((0, optimizer.dim))  # candidates whose losses were not yet told
        self._more = 0  # evaluations by which the optimizer is to be extended
        self._answers: dict[int, tuple[float, Any]] = {}  # loss and output by row of these
        self._losses: list[float] = []
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
    def recommended(self) -> np.ndarray:
        """The point that the optimizer recommends, in the shape of ``x0``.

        It is another than :attr:`x` if the optimizer recommends the mean of many points, which
        is the better choice where losses are noisy.
        """
        return self._space.point(self._optimizer.recommend())

    @property
    def history(self) -> pd.DataFrame:
        """A table with a row for each evaluation.

        Columns: evaluation (from 1), loss, best (so far; NaN before the first success), seconds
        (since the start of the search).
        """
        import pandas as pd

        losses = np.array(self._losses, dtype=np.float64)
        best = np.fmin if self._sign > 0 else np.fmax
        return pd.DataFrame(
            {
                "evaluation": np.arange(1, len(losses) + 1),
                "loss": losses,
                "best": best.accumulate(np.where(np.isfinite(losses), losses, np.nan)),
                "seconds": self._times,
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
        x = np.array2string(self.x, precision=6, threshold=10, edgeitems=3, max_line_width=80)
        return "\n".join(
            [
                f"loss         {self.loss:.9g}",
                f"x            {x}".replace("\n", "\n" + 13 * " "),
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
        evaluate({i: self._space.point(z) for i, z in points.items()})
        answers = [self._answers[i] for i in range(len(self._waiting)) if i in self._answers]
        # An executor may leave gaps; they are filled before the losses are told.
        if answers and max(self._answers) < len(answers):
            candidates, self._waiting = self._waiting[: len(answers)], self._waiting[:0]
            losses = [self._sign * loss for loss, _ in answers]
            outputs = [output for _, output in answers]
            learns = self._optimizer.output_loss is not None
            self._optimizer.tell(candidates, losses, outputs if learns else None)
        if self._reached():
            return f"the target of {self._target:g} is reached"
        if time.monotonic() >= self._deadline:
            return f"{self._seconds:g} seconds are over"
        if answers and self._callback is not None and self._callback(self):
            return "the callback asked to end"
        return None

    def _one_by_one(self, points: dict[int, np.ndarray]) -> None:
        for i, x in points.items():
            if self._reached() or time.monotonic() >= self._deadline:
                return
            self._note(i, x, self._f(x.copy()))

    def _together(self, points: dict[int, np.ndarray]) -> None:
        assert self._executor is not None
        if time.monotonic() >= self._deadline:
            return
        futures = {}
        wrong: Exception | None = None
        try:
            for i, x in points.items():
                futures[i] = self._executor.submit(self._f, x.copy())
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

    def _note(self, i: int, x: np.ndarray, answer: Any) -> None:
        output = None
        if self._optimizer.output_loss is not None:
            output = np.asarray(answer)
            answer, _ = self._optimizer.output_loss(output)
        loss = one_number(answer)
        self._answers[i] = loss, output
        self._losses.append(loss)
        self._times.append(time.monotonic() - self._began)
        if math.isfinite(loss) and self._sign * loss < self._sign * self.loss:
            self.x, self.loss = x.copy(), loss

    def _reached(self) -> bool:
        return self._target is not None and self._sign * (self.loss - self._target) <= 0


class _Box:
    """The variables x = x0 + scale · z of a function, reflected at their bounds.

    Attributes:
        start: x0.
    """

    def __init__(self, x0: Any, bounds: Any, scale: Any) -> None:
        if x0 is None and bounds is None:
            raise OptimizerError("give the start x0, or bounds: the start is then their middle")
        try:
            if hasattr(bounds, "lb"):
                bounds = np.stack(np.broadcast_arrays(bounds.lb, bounds.ub), axis=-1)
            sides = np.array((None, None) if bounds is None else bounds, dtype=np.float64)
            if sides.shape[-1:] != (2,):
                raise ValueError(f"bounds have the shape {sides.shape}")
            low, high = sides.reshape(-1, 2).T
            self._low, self._high = np.fmax(low, -np.inf), np.fmin(high, np.inf)  # None is NaN here
            if x0 is None and np.isinf([self._low, self._high]).any():
                raise OptimizerError("a variable has no bound on one side: give the start x0")
            start = self._low / 2 + self._high / 2 if x0 is None else x0
            if np.iscomplexobj(start):
                raise ValueError("x0 is complex")
            self.start = np.array(start, dtype=np.float64)
            self._low, self._high = (
                np.broadcast_to(each, self.start.size).reshape(self.start.shape)
                for each in (self._low, self._high)
            )
            with np.errstate(over="ignore"):
                width = self._high - self._low
            sizes = np.where(np.isfinite(width), width / 5, 1.0) if scale is None else scale
            self._scale = np.broadcast_to(np.asarray(sizes, np.float64), self.start.shape)
        except OptimizerError:  # which is a ValueError, too
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise OptimizerError(
                f"x0, bounds and scale do not fit each other ({error}): give a start, one pair "
                f"(low, high) or one for each variable, and one scale or one for each variable"
            ) from None
        if not self.start.size or not np.isfinite(self.start).all():
            raise OptimizerError("x0 must be one finite number or more")
        if (self._low > self._high).any():
            raise OptimizerError("a lower bound is above its upper bound: write (low, high)")
        if not ((self._low <= self.start) & (self.start <= self._high)).all():
            raise OptimizerError("x0 lies outside the bounds: move it, or widen them")
        if scale is None and not self._scale.any():
            raise OptimizerError("the bounds leave no variable free: widen those of one")
        if not (np.isfinite(self._scale) & (self._scale >= 0)).all() or not self._scale.any():
            raise OptimizerError("scale must be finite and above 0: give lengths of first steps")

    def point(self, z: np.ndarray) -> np.ndarray:
        """The point x in the shape of the start, for the optimizer's variables (d,)."""
        x = np.asarray(self.start + self._scale * z.reshape(self.start.shape))
        low, high = self._low, self._high
        if ((low <= x) & (x <= high)).all():
            return x
        with np.errstate(invalid="ignore", divide="ignore"):
            width = high - low
            between = low + width - np.abs(np.mod(x - low, 2 * width) - width)
            above, below = low + np.abs(x - low), high - np.abs(high - x)
        reflected = np.where(np.isfinite(width), between, np.where(np.isfinite(low), above, below))
        reflected = np.where(width > 0, reflected, low)
        return np.where((low <= x) & (x <= high), x, np.clip(reflected, low, high))
