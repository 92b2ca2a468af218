"""Conformance tests for optimizers, to be called from a test of the optimizer.

    from craft_zoo.optimizers.testing import check_optimizer

    def test_mine():
        check_optimizer("mine")

Each rule has its own check (:data:`CHECKS`); :func:`check_optimizer` runs all checks and reports
all violations in one exception.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from scipy.special import log_softmax

from craft_zoo.optimizers.base import Optimizer
from craft_zoo.optimizers.checkpoint import restore
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.minimization import minimize
from craft_zoo.optimizers.registry import create, options, parse_spec, searches
from craft_zoo.optimizers.space import Space

# Checks that compare two searches are skipped for an optimizer that is not reproducible.
_REPEATABLE = {"determinism", "isolation"}
_NEED_REPEATABLE = {"foreign_points", "interleaving", "order", "purity", "outputs", "restoring"}

_DIM = 6
_DIMENSIONS = (1, 2, 3, 5, 10, 100, 512)
_MANY, _FEW_EVALUATIONS = 2048, 120  # variables, and evaluations that cost little there
_FAR = 4  # times the loss of the start; a random point with steps of 1 has 3 times
_NOISE = 0.2  # standard deviation, as a share of the loss at the start
_WORSE = 1.1  # a loss above 1.1 times the loss of the start counts as much worse
_BOUND = 0.5
# The number that each choice index is decoded to, for optimizers that search only choices.
_VALUES = np.array([0.0, 0.7, -0.7, 1.4, -1.4])
_IMPROVEMENT_SEEDS = (1, 2, 3)


class ConformanceError(AssertionError):
    """An optimizer violates rules; the message lists them."""


Evaluate = Callable[[np.ndarray], tuple[np.ndarray, Any]]
"""(λ, d) candidates → (λ,) losses, and the outputs that they are computed from."""

Check = Callable[["Subject"], None]

CHECKS: dict[str, Check] = {}
"""Name of each rule → its check."""


def check_optimizer(spec: str, *, skip: Collection[str] = ()) -> None:
    """Check that an optimizer follows the rules of :class:`Optimizer`.

    Args:
        spec: as for :func:`create`: ``mine``, ``mine:option=value``.
        skip: names of the checks to leave out. Skip ``improvement`` for an optimizer that may be
            worse than random search, ``seed`` for a deterministic one, ``dimensions`` and
            ``many_dimensions`` for one that may end worse than the start in very few or very many
            dimensions.

    Raises:
        ConformanceError: rules are violated; the message has a line for each kind of violation.
        OptimizerError: the optimizer, one of its options or a check in ``skip`` is unknown.
    """
    skip = {skip} if isinstance(skip, str) else set(skip)
    if unknown := skip - set(CHECKS):
        raise OptimizerError(
            f"there is no check {sorted(unknown)[0]!r} to skip: there are {', '.join(CHECKS)}"
        )
    subject = Subject(spec)
    declared = options(subject.name)  # raises if the optimizer is unknown
    try:
        subject.make()
    except OptimizerError:
        if all(option.default is not inspect.Parameter.empty for option in declared):
            raise  # the spec is wrong, not the optimizer
    except Exception:
        pass  # the checks below report it
    faults: dict[str, list[str]] = {}  # fault message -> names of the rules
    first: Exception | None = None
    for name, check in CHECKS.items():
        broken = {each for names in faults.values() for each in names}
        if name in skip or (name in _NEED_REPEATABLE and broken & _REPEATABLE):
            continue
        try:
            check(subject)
        except ConformanceError as fault:
            faults.setdefault(str(fault), []).append(name)
        except Exception as error:
            faults.setdefault(f"it raised {type(error).__name__}: {error}", []).append(name)
            first = first or error
    if faults:
        lines = [f"{', '.join(names)}: {fault}" for fault, names in faults.items()]
        count = sum(map(len, faults.values()))
        head = f"{spec!r} breaks {count} {'rule' if count == 1 else 'rules'}:"
        raise ConformanceError("\n".join([head, *lines])) from first


@dataclass(frozen=True)
class Subject:
    """The optimizer under test."""

    spec: str

    @property
    def name(self) -> str:
        """The name in the registry."""
        return self.spec.partition(":")[0]

    @property
    def learns_from_outputs(self) -> bool:
        """See :attr:`Optimizer.learns_from_outputs`, which may depend on options."""
        return self.make().learns_from_outputs

    @property
    def function(self) -> Callable[[int], Evaluate]:
        """The function that is minimised where the result is judged, given the dimension."""
        return classification if self.learns_from_outputs else sphere

    @property
    def long_budget(self) -> int:
        """Evaluations of a search whose result is judged; outputs tell more than losses."""
        return 100 if self.learns_from_outputs else 600

    def make(self, dim: int = _DIM, budget: int = 100, seed: int = 1, **given: Any) -> Optimizer:
        """Create the optimizer, ready to be asked."""
        optimizer = create(self.spec, self.space(dim), budget=budget, seed=seed, **given)
        optimizer.output_loss = mean_cross_entropy
        return optimizer

    def space(self, dim: int, blocks: int = 1) -> Space:
        """A space that the optimizer can search: of choices if it searches nothing else."""
        real = searches(self.spec, choices=False)
        return Space(dim, blocks=blocks, choices=None if real else [len(_VALUES)] * dim)

    def decoded(self, evaluate: Evaluate) -> Evaluate:
        """Make ``evaluate`` accept choice indices if the optimizer searches only choices."""
        if self.space(_DIM).choices is None:
            return evaluate
        return lambda candidates: evaluate(_VALUES[candidates.astype(int)])

    def run(
        self,
        optimizer: Optimizer,
        evaluate: Evaluate | None = None,
        *,
        evaluations: int | None = None,
        after_tell: Callable[[Optimizer, np.ndarray, np.ndarray], object] | None = None,
    ) -> np.ndarray:
        """Run a search until the optimizer stops.

        Args:
            optimizer: made by :meth:`make`.
            evaluate: the function to minimise; by default :func:`classification`.
            evaluations: ask for no further generation after this number of evaluations.
            after_tell: called with the optimizer, its candidates and their losses after each tell.

        Returns:
            (n, d) all candidates, in the order in which they were asked for.
        """
        evaluate = evaluate or classification(optimizer.dim)
        asked = [np.zeros((0, optimizer.dim))]
        while not optimizer.stop and sum(map(len, asked)) < (evaluations or optimizer.budget):
            candidates = optimizer.ask()
            asked.append(candidates.copy())
            losses, outputs = evaluate(candidates)
            optimizer.tell(candidates, losses, outputs)
            if after_tell is not None:
                after_tell(optimizer, candidates, losses)
        return np.concatenate(asked)


def rule(check: Check) -> Check:
    """Decorator that registers ``check_x`` as the check of rule ``x``."""
    CHECKS[check.__name__.removeprefix("check_")] = check
    return check


# ---- the functions -------------------------------------------------------------------------------


def sphere(dim: int) -> Evaluate:
    """``Σ (z_i - 0.7)²``; the outputs are the terms of the sum."""
    return partial(_quadratic, np.ones(dim))


def ellipsoid(dim: int) -> Evaluate:
    """A sphere with terms weighted by 1 to 100; the outputs are the terms of the sum."""
    return partial(_quadratic, 100 ** (np.arange(dim) / max(1, dim - 1)))


_LABELS = np.arange(12) % 3


def mean_cross_entropy(logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of (12, 3) logits (:func:`classification`) and its gradient in them."""
    gradient = np.exp(log_softmax(logits, axis=-1))
    gradient[np.arange(len(logits)), _LABELS] -= 1
    return float(_mean_cross_entropies(logits[None])[0]), gradient / len(logits)


def _mean_cross_entropies(logits: np.ndarray) -> np.ndarray:
    """(λ,) mean cross-entropies of (λ, 12, 3) logits."""
    of_labels = log_softmax(logits, axis=-1)[:, np.arange(len(_LABELS)), _LABELS]
    return -np.ascontiguousarray(of_labels).mean(axis=1)


def classification(dim: int) -> Evaluate:
    """Cross-entropy of (12 images, 3 classes) logits linear in z; the outputs are the logits."""
    rng = np.random.default_rng(7)
    weights = rng.standard_normal((dim, 12, 3))

    def evaluate(candidates: np.ndarray) -> tuple[np.ndarray, Any]:
        logits = np.tensordot(candidates, weights, axes=1)
        return _mean_cross_entropies(logits), list(logits)

    return evaluate


def _quadratic(weights: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, Any]:
    terms = weights * (candidates - 0.7) ** 2
    return terms.sum(axis=1), list(terms[:, None])


# ---- the rules -----------------------------------------------------------------------------------


def _require(holds: object, fault: str) -> None:
    if not holds:
        raise ConformanceError(fault)


def _require_finite(optimizer: Optimizer, when: str) -> None:
    _require(np.isfinite(optimizer.recommend()).all(), f"{when}, its recommendation is not finite")


def _losses_at(evaluate: Evaluate, *points: np.ndarray) -> list[float]:
    return evaluate(np.stack(points))[0].tolist()


@rule
def check_options(subject: Subject) -> None:
    """Every option has a default and a description."""
    for option in options(subject.name):
        given = option.default is not inspect.Parameter.empty
        _require(given, f"option {option.name!r} has no default")
        where = "under 'Args:' in the class's docstring"
        _require(option.help, f"option {option.name!r} is not described {where}")


@rule
def check_space(subject: Subject) -> None:
    """The constructor passes on the space that it is given."""
    space = subject.space(_DIM, blocks=2)
    optimizer = create(subject.spec, space, budget=100, seed=1)
    _require(
        optimizer.space == space,
        f"made for {space}, it searches {optimizer.space}: pass the first argument of its "
        f"constructor on to super().__init__ as it is",
    )


@rule
def check_shapes(subject: Subject) -> None:
    """Candidates are (λ, d), recommendations (d,), and both are finite, for d = 1, 2 and 30."""
    for dim in (1, 2, 30):
        optimizer = subject.make(dim)
        subject.run(optimizer)
        best = optimizer.recommend()
        _require(
            np.shape(best) == (dim,),
            f"recommend gave the shape {np.shape(best)} for {dim} dimensions, not ({dim},)",
        )
        _require(np.isfinite(best).all(), "recommend gave a point that is not finite")


@rule
def check_start(subject: Subject) -> None:
    """Before the first tell, the start (the origin) is recommended."""
    optimizer = subject.make()
    for when in ("before the first ask", "before the first tell"):
        at_start = np.array_equal(optimizer.recommend(), np.zeros(_DIM))
        _require(at_start, f"{when}, it does not recommend the start (zeros)")
        if when == "before the first ask":
            optimizer.ask()


@rule
def check_budget(subject: Subject) -> None:
    """Exactly the budget is used, even if it is not a multiple of the generation size."""
    for budget in (97, 100, 203):
        optimizer = subject.make(budget=budget)
        used = len(subject.run(optimizer))
        _require(used <= budget, f"it asked for {used} candidates with a budget of {budget}")
        _require(
            isinstance(optimizer.stop, str),
            f"at its end, stop is {optimizer.stop!r}: _stop must return a reason in words, or "
            f"None to go on",
        )
        _require(used, f"it ended after {used} of {budget} ({optimizer.stop})")
        try:
            optimizer.ask()
        except OptimizerError:
            continue
        raise ConformanceError(f"it continues to ask after its budget of {budget} is spent")
    for budget in (1, 2, 3, 5):
        try:
            used = len(subject.run(subject.make(budget=budget)))
        except OptimizerError as error:
            fault = f"with a budget of {budget} it says {error!s}, which does not name the budget"
            _require("budget" in str(error), fault)
        else:
            _require(used == budget, f"with a budget of {budget} it asked for {used}")


@rule
def check_cut(subject: Subject) -> None:
    """The search continues if only the first candidate of a generation was evaluated."""
    optimizer, evaluate = subject.make(), classification(_DIM)
    for _ in range(4):
        candidates = optimizer.ask()[:1]
        optimizer.tell(candidates, *evaluate(candidates))
    subject.run(optimizer)
    _require_finite(optimizer, "after cut generations")


@rule
def check_determinism(subject: Subject) -> None:
    """The same seed gives the same candidates."""
    first, second = (subject.run(subject.make()) for _ in range(2))
    _require(
        np.array_equal(first, second),
        "with the same seed it asked for other candidates the second time: draw all random "
        "numbers from self.rng",
    )


@rule
def check_seed(subject: Subject) -> None:
    """Different seeds give different candidates."""
    first, second = (subject.run(subject.make(seed=seed)) for seed in (1, 2))
    _require(
        not np.array_equal(first, second),
        "with another seed it asked for the same candidates: draw all random numbers from self.rng",
    )


@rule
def check_isolation(subject: Subject) -> None:
    """Global random generators are neither read nor changed."""
    found = np.random.get_state(), random.getstate()
    try:
        np.random.seed(11)
        random.seed(11)
        numpy, python = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
        first = subject.run(subject.make())
        for whose, kept in (
            ("numpy", np.array_equal(numpy, np.random.get_state()[1])),  # type: ignore[index]
            ("Python", python == random.getstate()),
        ):
            _require(kept, f"it draws from {whose}'s global generator, or seeds it: use self.rng")
        np.random.seed(12)
        random.seed(12)
        same = np.array_equal(first, subject.run(subject.make()))
        _require(same, "its search depends on a global generator: use self.rng")
    finally:
        np.random.set_state(found[0])
        random.setstate(found[1])


@rule
def check_interleaving(subject: Subject) -> None:
    """Two optimizers that take turns in one process do not influence each other."""
    alone = subject.run(subject.make())
    other, evaluate = subject.make(seed=2), classification(_DIM)

    def take_turn(optimizer: Optimizer, *_: np.ndarray) -> None:
        if not other.stop:
            candidates = other.ask()
            other.tell(candidates, *evaluate(candidates))

    _require(
        np.array_equal(subject.run(subject.make(), after_tell=take_turn), alone),
        "interleaved with another instance, it asked for other candidates than alone: keep "
        "all state in self",
    )


@rule
def check_bounds(subject: Subject) -> None:
    """An option ``bound``, if declared, bounds all candidates and the recommendation."""
    if all(option.name != "bound" for option in options(subject.name)):
        return
    bound = parse_spec(subject.spec)[2].get("bound", _BOUND)
    if bound is None:
        return
    for dim in (1, _DIM):
        optimizer = subject.make(dim, bound=bound, budget=200)
        asked = subject.run(optimizer)
        for what, points in (("a candidate", asked), ("the recommendation", optimizer.recommend())):
            worst = float(np.abs(points).max())
            fault = f"with bound={bound:g}, {what} has a coordinate of ±{worst:g}"
            _require(worst <= bound, fault)


@rule
def check_bad_losses(subject: Subject) -> None:
    """NaN, infinite, equal or huge losses neither end the search nor spoil its recommendation."""
    nan, evaluate = np.nan, subject.decoded(classification(_DIM))

    def with_losses(losses: list[float]) -> Evaluate:
        return lambda candidates: (np.resize(losses, len(candidates)), evaluate(candidates)[1])

    for losses in ([nan], [np.inf], [-np.inf, nan], [0.0], [nan, 1.0], [1e300, -1e300], [1e300]):
        optimizer = subject.make(budget=160)
        subject.run(optimizer, with_losses(losses))
        _require_finite(optimizer, f"after losses of {losses}")
    optimizer = subject.make(budget=subject.long_budget)

    def failing(candidates: np.ndarray) -> tuple[np.ndarray, Any]:
        losses, outputs = evaluate(candidates)
        failed = (np.arange(len(losses)) + optimizer.evaluations) % 10 == 9
        return np.where(failed, nan, losses), outputs

    subject.run(optimizer, failing)
    start, end = _losses_at(evaluate, np.zeros(_DIM), optimizer.recommend())
    _require(
        end < start,
        f"with one evaluation in ten failing (NaN), it recommends a loss of {end:.3g}, "
        f"the start has {start:.3g}",
    )


@rule
def check_failures(subject: Subject) -> None:
    """A candidate whose evaluation failed, early or late, is not recommended."""
    evaluate, draw = subject.decoded(classification(_DIM)), random.Random(5)
    for when, fails in (
        ("in its first generation", lambda evaluations: evaluations == 0),
        ("in a third of the evaluations", lambda evaluations: draw.random() < 1 / 3),
    ):
        for bad in (np.nan, -np.inf):
            optimizer = subject.make(budget=160)
            failed: set[bytes] = set()
            good: set[bytes] = set()
            while not optimizer.stop:
                candidates = optimizer.ask()
                losses, outputs = evaluate(candidates)
                for i, candidate in enumerate(candidates):
                    fail = fails(optimizer.evaluations)
                    losses[i] = bad if fail else losses[i]
                    (failed if fail else good).add(candidate.tobytes())
                optimizer.tell(candidates, losses, outputs)
            recommended = optimizer.recommend()
            _require(
                not recommended.any() or recommended.tobytes() not in failed - good,
                f"it recommends a candidate whose loss was {bad} {when}: compare losses with "
                f"the losses that _tell receives, where failed ones are the highest",
            )


@rule
def check_dimensions(subject: Subject) -> None:
    """In 1 to 512 dimensions the recommendation is not much worse than the start.

    Steps too long for many variables, or learning rates designed for many variables but used in
    few, lead away from the minimum of a convex function. A factor of 1.1 is tolerated, because the
    mean of an evolution strategy may get slightly worse before its step size has adapted.
    """
    for dim in _DIMENSIONS:
        start, end, found = _search(subject, dim, subject.long_budget)
        _require(end <= _WORSE * start, f"{found}: shorten its steps")


@rule
def check_many_dimensions(subject: Subject) -> None:
    """In 2,048 dimensions the search works, and the recommendation is no random point."""
    start, end, found = _search(subject, _MANY, _FEW_EVALUATIONS)
    _require(
        end <= _FAR * start, f"{found}: the length of its steps must not grow with the dimension"
    )


def _search(subject: Subject, dim: int, budget: int) -> tuple[float, float, str]:
    """Losses at the start and at the recommended point of a search, and a sentence about them."""
    function = subject.function
    optimizer = subject.make(dim, budget=budget)
    evaluate = subject.decoded(function(dim))
    subject.run(optimizer, evaluate)
    start, end = _losses_at(evaluate, np.zeros(dim), optimizer.recommend())
    found = (
        f"on the {function.__name__} function in {dim} dimensions it recommends a loss of "
        f"{end:.3g} after {budget} evaluations, the start has {start:.3g}"
    )
    return start, end, found


@rule
def check_noise(subject: Subject) -> None:
    """Where losses are noisy, the recommendation is not much worse than the start."""
    noiseless = subject.decoded(subject.function(_DIM))
    (scale,) = _losses_at(noiseless, np.zeros(_DIM))
    rng = np.random.default_rng(3)

    def noisy(candidates: np.ndarray) -> tuple[np.ndarray, Any]:
        losses, outputs = noiseless(candidates)
        return losses + _NOISE * scale * rng.standard_normal(len(losses)), outputs

    optimizer = subject.make(budget=subject.long_budget)
    subject.run(optimizer, noisy)
    (end,) = _losses_at(noiseless, optimizer.recommend())
    _require(
        end <= _WORSE * scale,
        f"with noise on the losses it recommends a point of loss {end:.3g}, the start has "
        f"{scale:.3g}: take no small difference of losses for a slope",
    )


@rule
def check_order(subject: Subject) -> None:
    """Losses told one by one, in any order, lead to the same search as a whole generation's."""
    expected, order = subject.run(subject.make()), random.Random(5)
    optimizer, evaluate, asked = subject.make(), classification(_DIM), [np.zeros((0, _DIM))]
    while not optimizer.stop:
        candidates = optimizer.ask()
        asked.append(candidates.copy())
        losses, outputs = evaluate(candidates)
        for i in order.sample(range(len(candidates)), len(candidates)):
            alone: Any = candidates[i], losses[i], outputs[i]
            optimizer.tell(*alone)
    _require(
        np.array_equal(np.concatenate(asked), expected),
        "told one by one in another order, it asked for other candidates: do not override tell, "
        "learn in _tell",
    )


@rule
def check_foreign_points(subject: Subject) -> None:
    """Points that were not asked for cost no budget, and do no harm."""
    evaluate = subject.decoded(classification(_DIM))
    draw = np.random.default_rng(4)
    optimizer = subject.make()
    shape = 3, _DIM
    real = optimizer.choices is None

    def add() -> None:
        points = draw.standard_normal(shape) if real else draw.integers(len(_VALUES), size=shape)
        losses, outputs = evaluate(np.asarray(points, dtype=np.float64))
        losses[0] = np.nan
        before = optimizer.evaluations
        optimizer.add(points, losses, outputs)
        unchanged = optimizer.evaluations == before
        _require(unchanged, "points given to add count as evaluations: count none in _tell_added")

    def evaluate_after_adding(candidates: np.ndarray) -> tuple[np.ndarray, Any]:
        add()
        return evaluate(candidates)

    add()  # before the first ask
    asked = len(subject.run(optimizer, evaluate_after_adding))  # between ask and tell
    _require(
        asked == optimizer.evaluations <= optimizer.budget,
        f"with points from elsewhere it asked for {asked} candidates with a budget of "
        f"{optimizer.budget}",
    )
    _require_finite(optimizer, "after points from elsewhere")
    _restored(optimizer)


def _restored(optimizer: Optimizer) -> Optimizer:
    try:
        second = restore(optimizer.state())
    except OptimizerError as error:
        raise ConformanceError(
            f"after the same losses, it asks for other candidates ({error}): its search must "
            f"depend only on the seed and the arguments of tell and add"
        ) from None
    second.output_loss = optimizer.output_loss
    return second


@rule
def check_choices(subject: Subject) -> None:
    """Where choices are declared, candidates and recommendation are choices that there are."""
    if not searches(subject.spec, choices=True):
        return
    counts = np.array([2, 3, 1, 5, 4, 2])
    optimizer = create(subject.spec, Space(_DIM, choices=counts), budget=100, seed=1)
    optimizer.output_loss = mean_cross_entropy
    asked = subject.run(optimizer)
    for what, points in (("asks for", asked), ("recommends", optimizer.recommend()[None])):
        wrong = np.argwhere((points < 0) | (points >= counts) | (points != np.rint(points)))
        for row, i in wrong[:1]:
            raise ConformanceError(
                f"of {counts[i]} choices it {what} number {points[row, i]:g}: a choice is a whole "
                f"number from 0 to n - 1"
            )


@rule
def check_bounded_variables(subject: Subject) -> None:
    """In minimize, with other bounds for each variable, the search gets closer to the minimum."""
    if not searches(subject.spec, choices=False):
        return
    sides = [(-1.0, 1.0), (0.0, None), (None, 0.5), (-3.0, 8.0), (0.0, 0.0), (None, None)]
    low, high = np.array(
        [[-np.inf if a is None else a, np.inf if b is None else b] for a, b in sides]
    ).T
    learns = subject.learns_from_outputs
    evaluate = subject.function(_DIM)
    seen = []

    def f(x: np.ndarray) -> Any:
        seen.append(x.copy())
        losses, outputs = evaluate(x[None])
        return outputs[0] if learns else losses[0]

    result = minimize(
        f,
        np.zeros(_DIM),
        bounds=sides,
        scale=1.0,
        budget=subject.long_budget,
        optimizer=subject.spec,
        seed=1,
        output_loss=mean_cross_entropy if learns else None,
    )
    points = np.array([*seen, result.recommended])
    _require(
        (np.isfinite(points) & (low <= points) & (points <= high)).all(),
        "in minimize, a point lies beyond the bounds of its variables",
    )
    (start,) = _losses_at(evaluate, np.zeros(_DIM))
    _require(
        result.loss < start,
        f"in minimize with bounds it found no loss below that of the start, {start:.3g}",
    )


@rule
def check_purity(subject: Subject) -> None:
    """The optimizer shares no array with its caller, and recommend has no side effect."""
    expected = subject.run(subject.make())

    told: list[np.ndarray] = []
    asked = subject.run(
        subject.make(), after_tell=lambda _, candidates, losses: told.append(candidates)
    )
    _require(
        np.array_equal(np.concatenate(told), asked),
        "tell changed the candidates that ask had returned: _ask must return a new array",
    )

    def overwrite(optimizer: Optimizer, *arrays: np.ndarray) -> None:
        for array in arrays:
            if array.flags.writeable:
                array[:] = 9.0

    def overwrite_recommended(optimizer: Optimizer, *_: np.ndarray) -> None:
        overwrite(optimizer, optimizer.recommend())

    for action, fault in (
        (overwrite, "it keeps references to the caller's arrays: copy tell's arguments"),
        (lambda optimizer, *_: optimizer.recommend(), "recommend changes the search that follows"),
        (overwrite_recommended, "recommend hands out its own array: return a copy"),
    ):
        _require(np.array_equal(subject.run(subject.make(), after_tell=action), expected), fault)


@rule
def check_outputs(subject: Subject) -> None:
    """Outputs influence the search only if ``learns_from_outputs`` is declared.

    An optimizer that declares it must raise OptimizerError in a tell without outputs.
    """
    optimizer, evaluate = subject.make(), classification(_DIM)
    try:
        asked = subject.run(optimizer, lambda candidates: (evaluate(candidates)[0], None))
    except OptimizerError:
        if optimizer.learns_from_outputs:
            return
        raise
    _require(
        not optimizer.learns_from_outputs,
        "it declares learns_from_outputs, but tell accepts a call without outputs",
    )
    same = np.array_equal(asked, subject.run(subject.make()))
    _require(same, "it learns from outputs: declare learns_from_outputs = True")


@rule
def check_restoring(subject: Subject) -> None:
    """An optimizer restored in the middle of a search continues it identically."""
    whole = subject.make()
    expected = subject.run(whole)
    first = subject.make()
    asked = subject.run(first, evaluations=50)
    if not first.stop:
        first.ask()  # without a tell: the restored optimizer must ask for the same again
    second = _restored(first)
    asked = np.concatenate([asked, subject.run(second)])
    for what, same in (
        ("asks for other candidates", np.array_equal(asked, expected)),
        ("recommends another point", np.array_equal(second.recommend(), whole.recommend())),
    ):
        where = "restored in the middle of a search"
        _require(same, f"{where}, it {what} than the uninterrupted search")


@rule
def check_improvement(subject: Subject) -> None:
    """On simple functions the recommendation is no worse than that of random search."""
    all_functions = [sphere, ellipsoid, classification]
    functions = [classification] if subject.learns_from_outputs else all_functions
    budget = subject.long_budget
    for function in functions:
        ours = _median_loss(subject, function, budget)
        random_search = _random_search(function, budget)
        _require(
            ours <= random_search,
            f"on the {function.__name__} function in {_DIM} dimensions it recommends a loss of "
            f"{ours:.3g} after {budget} evaluations, random search finds {random_search:.3g} "
            f"(medians of {len(_IMPROVEMENT_SEEDS)} seeds)",
        )


def _median_loss(subject: Subject, function: Callable[[int], Evaluate], budget: int) -> float:
    """Median over the seeds of the recommended points' losses."""
    evaluate = subject.decoded(function(_DIM))
    reached = []
    for seed in _IMPROVEMENT_SEEDS:
        optimizer = subject.make(budget=budget, seed=seed)
        subject.run(optimizer, evaluate)
        reached += _losses_at(evaluate, optimizer.recommend())
    return float(np.median(reached))


_random_search = cache(partial(_median_loss, Subject("random")))
