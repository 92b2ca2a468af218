"""minimize and maximize, a whole search in one call."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from craft_zoo.optimizers.auto import options_for
from craft_zoo.optimizers.base import OutputLoss
from craft_zoo.optimizers.box import Box
from craft_zoo.optimizers.comparison import Comparison
from craft_zoo.optimizers.constraints import checked
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.evaluator import Evaluator
from craft_zoo.optimizers.losses import one_number
from craft_zoo.optimizers.option import whole_number
from craft_zoo.optimizers.record import Record
from craft_zoo.optimizers.registry import create, searches
from craft_zoo.optimizers.result import Result
from craft_zoo.optimizers.search import Function, Search
from craft_zoo.optimizers.variables import Variables


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
    domain = _domain(x0, bounds, scale, space, optimizer)
    kept = None if record is None else Record(record)
    if seed is None and kept is not None and kept.search is not None:
        seed = kept.search.get("seed")
    seed = secrets.randbits(32) if seed is None else whole_number("seed", seed, 0)
    functions = () if constraints is None else checked(constraints)
    workers = _whole("workers", workers, 1)
    if workers is not None and executor is None:
        executor = partial(ThreadPoolExecutor, workers)
    retries, stagnation = _whole("retries", retries, 0), _whole("stagnation", stagnation, 1)
    options = options_for(
        optimizer,
        outputs=output_loss is not None,
        # Penalties change from generation to generation, which line searches and models cannot use.
        parallel=executor is not None or bool(functions),
        rounded=domain.rounded,
        noisy=noisy,
    )
    sign = -1.0 if maximize else 1.0
    budget = whole_number("budget", budget, 1)
    comparison = Comparison(budget, sign, domain.key) if noisy else None
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
    search = Search(
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
        about = {"optimizer": optimizer, "seed": seed, "budget": made.budget, "workers": workers}
        about |= {"noisy": True} if noisy else {}
        kept.begin(about | {"variables": made.dim, "maximize": maximize})
    search.go_on(0)
    return search.result


def maximize(f: Function, x0: Any = None, **arguments: Any) -> Result:
    """:func:`minimize` with ``maximize=True``."""
    return minimize(f, x0, maximize=True, **arguments)


def _domain(x0: Any, bounds: Any, scale: Any, space: Any, optimizer: str) -> Box | Variables:
    """What is searched; for the arguments see :func:`minimize`."""
    if space is None:
        return Box(x0, bounds, scale)
    if bounds is not None or scale is not None:
        raise OptimizerError(
            "the variables of space have bounds of their own: leave out bounds and scale"
        )
    return Variables(space, x0, natively=searches(optimizer, choices=True))


def _whole(what: str, value: Any, least: int) -> int | None:
    return None if value is None else whole_number(what, value, least)


def _limit(what: str, value: Any) -> float | None:
    try:
        number = None if value is None else one_number(value)
    except OptimizerError:
        number = math.nan
    if number is not None and math.isnan(number):
        raise OptimizerError(f"{what} must be a number or None, not {value!r:.100}")
    return number
