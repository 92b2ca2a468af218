"""auto, which chooses among the other optimizers, and runs several in turn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from craft_zoo.optimizers.base import Optimizer, Outputs
from craft_zoo.optimizers.errors import OptimizerError
from craft_zoo.optimizers.registry import create, register
from craft_zoo.optimizers.space import Space

# Chosen on 12 of BBOB's functions in 5 and 10 dimensions; docs/optimizers.md has what they reach.
_FEW = 2  # variables in which restarted simplices are ahead of all else
_MODEL = 10  # evaluations for each variable that cobyqa gets
# Evaluations for each coordinate that one-plus-one gets where some are rounded, chosen on four
# functions of benchmarks/mixed.py and half of bbob-mixint; and that snes gets if candidates are
# evaluated at the same time. Later cma restarts, and learns a full covariance.
_SPARSE, _RANKED = 20, 100
_SHARE = 0.3  # first steps of all stages but the first
_MANY = 50  # variables from which on cobyqa takes too long
_VERY_MANY = 200  # from which on cma takes too long
_LOCAL = ("cobyqa", "powell", "nelder-mead", "l-bfgs")
# Gradients that l-bfgs needs to be ahead of sep-cma, and at most gets, of d + 1 evaluations each
# (benchmarks/large.py). A sum of functions of single variables takes two.
_GRADIENTS, _MOST_GRADIENTS, _SEPARABLE = 8, 100, 3
_GENERATIONS = 5  # fewer generations of cma are not worth a stage
# Of noisy losses: by how much cma's population is larger, and for how many evaluations a variable;
# below, spsa is ahead (benchmarks/noisy.py). cobyqa's long first steps stand noise, too.
_LARGER, _FOR_LARGER = 8, 100


@register("auto")
class Auto(Optimizer):
    """Chooses one or several others by the variables, the budget and its options.

    Several take turns as stages: each starts at the best point of the earlier ones, and ends when
    its evaluations are spent or it has converged. The property ``spec`` says what was chosen.

    Args:
        outputs: whether outputs are told with the losses, so that logit-gn or columns is chosen.
        parallel: whether the candidates of a generation are evaluated at the same time, so that
            nothing is chosen that asks for one at a time.
        rounded: whether variables are rounded to whole numbers or choices, so that nothing is
            chosen that searches along lines or fits a model.
        noisy: whether evaluations of the same point differ, so that nothing is chosen that takes
            single losses as exact.
        stages: what to do instead of choosing: names and numbers of evaluations, as in
            cobyqa*100+l-bfgs*1000+cma; separable is l-bfgs:only_separable=true, and large-cma has
            the population for noisy losses.
    """

    uses_choices = True
    uses_blocks = True

    def __init__(
        self,
        space: Space | int,
        *,
        budget: int,
        seed: int,
        outputs: bool = False,
        parallel: bool = False,
        rounded: bool = False,
        noisy: bool = False,
        stages: str | None = None,
    ) -> None:
        super().__init__(space, budget=budget, seed=seed)
        plan = stages or choose(
            self.space, budget, outputs=outputs, parallel=parallel, rounded=rounded, noisy=noisy
        )
        self._noisy = noisy
        self._plan, self._stages = plan, [_parse(stage) for stage in plan.split("+")]
        self._stage = -1
        self._next_stage()
        made = [self._inner]
        if stages:  # what is wrong with a later stage is said now
            made += [self._make(i) for i in range(1, len(self._stages))]
        self.snapshots = len(self._stages) == 1 and self._inner.snapshots
        self.learns_from_outputs = any(each.learns_from_outputs for each in made)
        self.needs_output_loss = any(each.needs_output_loss for each in made)

    @property
    def spec(self) -> str:
        """The spec of what was chosen."""
        return f"auto:stages={self._plan}" if len(self._stages) > 1 else self._inner.spec

    def extend(self, evaluations: int) -> None:
        """Add ``evaluations`` to the budget; see :meth:`Optimizer.extend`."""
        super().extend(evaluations)
        if self._is_last():
            self._inner.extend(evaluations)

    def _is_last(self) -> bool:
        return self._stage == len(self._stages) - 1

    def _make(self, stage: int, budget: int | None = None) -> Optimizer:
        """The optimizer of a stage; the last gets ``budget``, None: the whole."""
        name, evaluations = self._stages[stage]
        last = stage == len(self._stages) - 1
        spec = name
        if name in ("cma", "sep-cma"):
            spec = f"{name}:popsize={popsize(self.dim)},restarts=bipop"
        elif name == "large-cma":
            spec = f"cma:popsize={_LARGER * popsize(self.dim)}"
        elif name == "snes":
            spec = f"snes:popsize={popsize(self.dim)}"
        elif name == "separable":
            spec = "l-bfgs:only_separable=true"
        elif name in _LOCAL and not last:
            spec = f"{name}:restarts=false"
        budget = (budget or self.budget) if last else evaluations
        return create(spec, self.space, budget=budget, seed=self.seed + stage)

    def _next_stage(self) -> None:
        self._stage += 1
        try:
            self._inner = self._make(self._stage, self.remaining)
        except OptimizerError:  # what remains is less than a generation, which ask cuts
            self._inner = self._make(self._stage)
        self._center, self._scale = self.best.point, _SHARE if self._stage else 1.0

    def _ask(self) -> np.ndarray:
        while self._inner.stop and not self._is_last():
            self._next_stage()
        self._inner.output_loss = self.output_loss
        self._asked_inner = self._inner.ask()
        if not self._stage:
            return self._asked_inner.copy()
        return self._center + self._scale * self._asked_inner

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        self._inner.output_loss = self.output_loss
        told = self._asked_inner[: len(candidates)]
        self._inner.tell(told, np.where(self.failed, np.nan, losses), outputs)

    def _ask_ahead(self, count: int) -> np.ndarray:
        if self.choices is None:
            return super()._ask_ahead(count)
        return self._inner._ask_ahead(count)  # which asks for nothing twice

    def _tell_added(self, points: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        if self.choices is not None:
            self._inner._tell_added(points, losses, outputs)

    def _snapshot(self) -> dict[str, np.ndarray]:
        return self._inner._snapshot()

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._inner.evaluations = self.evaluations
        self._inner._told_best, self._inner._worst = self._told_best, self._worst
        self._inner._resume(arrays)

    def _stop(self) -> str | None:
        return self._inner.stop if self._is_last() else None

    def recommend(self) -> np.ndarray:
        """What the chosen optimizer recommends; of several, the best candidate so far, or with
        ``noisy`` what the present one recommends: the least of noisy losses is partly luck."""
        if len(self._stages) == 1:
            return self._inner.recommend()
        if self._noisy and self._stage:
            return self._center + self._scale * self._inner.recommend()
        return self.best.point


def options_for(spec: str, **known: bool) -> dict[str, bool]:
    """What is known of a function, as options for a spec: those of :class:`Auto`, or none."""
    return known if spec.partition(":")[0] == Auto.name else {}


def popsize(dim: int) -> int:
    """The population that CMA-ES needs for ``dim`` variables (Hansen 2016)."""
    return 4 + int(3 * np.log(dim))


def choose(
    space: Space,
    budget: int,
    *,
    outputs: bool,
    parallel: bool,
    rounded: bool = False,
    noisy: bool = False,
) -> str:
    """The stages of ``auto``; for the arguments see :class:`Auto`."""
    if space.choices is not None:
        return "columns" if outputs else "genetic"
    if outputs:
        return "logit-gn"
    dim, enough = space.dim, _GENERATIONS * popsize(space.dim)
    population = "sep-cma" if dim >= _VERY_MANY else "cma"
    if noisy and not (rounded or parallel) and 1 < dim < _MANY and budget >= 2 * _MODEL * dim:
        return f"cobyqa*{_MODEL * dim}+{'large-cma' if budget >= _FOR_LARGER * dim else 'spsa'}"
    if noisy and not (rounded or parallel) and budget < _FOR_LARGER * dim:
        return "spsa" if budget > 1 else "random:start=true"
    if noisy and (larger := min(_LARGER, budget // enough)):
        return f"{'snes' if rounded else population}:popsize={larger * popsize(dim)}"
    if rounded and not parallel:
        sparse = _SPARSE * dim
        if budget < sparse + enough:
            return "one-plus-one"
        return f"one-plus-one*{sparse}+{population}"
    if rounded:
        ranked = _RANKED * dim
        if budget < ranked + enough:
            return "snes" if budget >= popsize(dim) else "random:start=true"
        return f"snes*{ranked}+{population}"
    if parallel:
        return population if budget >= enough else "random:start=true"
    if dim <= _FEW:
        return "nelder-mead"
    if dim >= _MANY:
        return _plan_for_many(dim, budget, population)
    plan = [f"cobyqa*{_MODEL * dim}"]
    if budget > _MODEL * dim:
        plan.append(f"l-bfgs*{_MOST_GRADIENTS * dim}")
    if budget >= _MODEL * dim + enough:
        plan.append("cma")
    plan[-1] = plan[-1].partition("*")[0]
    return "+".join(plan)


def _plan_for_many(dim: int, budget: int, population: str) -> str:
    if budget >= _GRADIENTS * dim:
        return f"l-bfgs*{_MOST_GRADIENTS * dim}+{population}"
    if budget >= _SEPARABLE * dim:
        return f"separable*{budget}+{population if dim >= _VERY_MANY else 'spsa'}"
    return "spsa" if budget > 1 else "l-bfgs"


def _parse(stage: str) -> tuple[str, int]:
    name, _, evaluations = stage.partition("*")
    if not name or not (evaluations or "1").isdecimal() or not int(evaluations or 1):
        raise OptimizerError(
            f"the stage {stage!r} of 'auto' cannot be read: write names and numbers of "
            f"evaluations, as in cobyqa*100+l-bfgs*1000+cma"
        )
    return name, int(evaluations or 1)
