"""Result, what a search by minimize has found, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from craft_zoo.optimizers.option import whole_number

if TYPE_CHECKING:
    import pandas as pd

    from craft_zoo.optimizers.search import Search


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

    def __init__(self, search: Search) -> None:
        self._search, self._optimizer = search, search.optimizer
        self.x: Any = search.domain.start.copy()
        self.loss, self.noise, self.reason = search.sign * math.inf, math.nan, "not started"
        self.violation = math.inf if search.constraints else 0.0
        self._losses: list[float] = []
        self._violations: list[float] = []
        self._errors: list[str | None] = []
        self._times: list[float] = []
        self._points: list[Any] = []  # all points, if they are no arrays

    def _add(
        self, x: Any, loss: float, violation: float, error: str | None, seconds: float
    ) -> None:
        """Add an evaluation to the history."""
        self._losses.append(loss)
        self._violations.append(violation)
        self._errors.append(error)
        self._times.append(seconds)
        if not isinstance(x, np.ndarray):
            self._points.append(x)

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
        return self._search.domain.point(self._optimizer.recommend())

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
        best = np.fmin if self._search.sign > 0 else np.fmax
        good = np.isfinite(losses)
        more: dict[str, list[Any]] = {}
        if any(self._errors):
            more["error"] = self._errors
        if self._search.constraints:
            more["violation"] = self._violations
            good &= np.array(self._violations) == 0
        return pd.DataFrame(
            {
                "evaluation": np.arange(1, len(losses) + 1),
                "loss": losses,
                "best": best.accumulate(np.where(good, losses, np.nan)),
                "seconds": self._times,
                **more,
                **self._search.domain.table(self._points),
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
        if self._search.comparison and self._search.comparison.count > 1:
            error = self.noise / math.sqrt(self._search.comparison.count)
            mean = f" (mean of {self._search.comparison.count}, standard error {error:.2g})"
        count = self.evaluations - int(np.isfinite(self._losses).sum())
        failed = f", {count} failed" if count else ""
        return "\n".join(
            [
                f"loss         {self.loss:.9g}{mean}",
                f"x            {x}".replace("\n", "\n" + 13 * " "),
                *([f"violation    {self.violation:.3g}"] if self._search.constraints else []),
                *([f"noise        {self.noise:.3g}"] if self._search.comparison else []),
                f"evaluations  {self.evaluations} of {self._search.budget}{failed}",
                f"ended        {self.reason}",
                f"optimizer    {self.optimizer}, seed {self.seed}",
            ]
        )

    def extend(
        self, evaluations: int = 0, *, f: Callable[[Any], Any] | None = None, executor: Any = None
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
        self._search.go_on(whole_number("extension", evaluations, 0), f, executor)
        return self
