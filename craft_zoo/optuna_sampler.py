"""CraftZooSampler, with which a study of Optuna asks an optimizer of craft-zoo for its trials."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from craft_zoo.errors import needs_extra
from craft_zoo.optimizers import (
    Choice,
    Integer,
    Optimizer,
    OptimizerError,
    Real,
    create,
    parse_spec,
    searches,
)
from craft_zoo.optimizers.auto import options_for
from craft_zoo.optimizers.variables import Variable, Variables

with needs_extra("optuna", "a sampler of Optuna"):
    from optuna import Study
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import intersection_search_space
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial, TrialState


class CraftZooSampler(BaseSampler):
    """Samples by an optimizer of craft-zoo the parameters that all completed trials had::

        study = optuna.create_study(sampler=CraftZooSampler("cma:popsize=10", budget=200, seed=1))
        study.optimize(objective, n_trials=200)

    The search starts at the best trial completed so far: at the first one, which is drawn at
    random, or at that of a study which was loaded. Parameters that some trials lack are drawn at
    random, as are those that an enqueued trial does not give. Failed and pruned trials count as
    failed evaluations, as do those whose range excluded the optimizer's values. When the budget is
    spent, or the optimizer has converged, the study is stopped. With ``n_jobs`` and in several
    processes it works too; each process has a search of its own.

    Args:
        optimizer: spec of the optimizer, see :func:`craft_zoo.optimizers.create`.
        budget: number of trials that the optimizer plans for.
        seed: seed of all random draws; None: another one each time.

    Raises:
        OptimizerError: the optimizer is unknown or needs outputs, or, when the search begins, the
            budget is too small or the study has several objectives.
    """

    def __init__(self, optimizer: str = "auto", *, budget: int, seed: int | None = None) -> None:
        self._spec, self._budget = optimizer, budget
        self._seed = secrets.randbits(32) if seed is None else seed
        parse_spec(optimizer)
        self._random = RandomSampler(seed=self._seed)
        self._lock = threading.Lock()
        self._distributions: dict[str, BaseDistribution] = {}
        self._optimizer: Optimizer | None = None
        self._pending: dict[int, np.ndarray] = {}  # by number of the trial

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that the optimizer searches; fixed once a trial is completed."""
        if len(study.directions) > 1:
            raise OptimizerError(
                "the optimizers of craft-zoo have one objective, and the study has several: sum "
                "them, or take another sampler"
            )
        with self._lock:
            if not self._distributions:
                found = intersection_search_space(study.get_trials(deepcopy=False))
                self._distributions = {name: d for name, d in found.items() if not d.single()}
            return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the optimizer's next candidate; none while the whole budget is running."""
        # The values of an enqueued trial are used in place of a candidate's.
        if not search_space or search_space.keys() & trial.system_attrs.get("fixed_params", {}):
            return {}
        with self._lock:
            if self._optimizer is None:
                self._begin(study)
            assert self._optimizer is not None
            if self._optimizer.stop or not len(asked := self._optimizer.ask(1)):
                return {}
            self._pending[trial.number] = asked[0]
            point = self._variables.point(asked[0])
        pairs = zip(search_space.items(), point, strict=True)
        return {name: _value(d, plain) for (name, d), plain in pairs}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tell the optimizer the trial's value."""
        with self._lock:
            candidate = self._pending.pop(trial.number, None)
            if candidate is None or self._optimizer is None:
                return
            succeeded = state == TrialState.COMPLETE and values and self._used(candidate, trial)
            loss = _sign(study) * values[0] if succeeded and values else math.nan
            self._optimizer.tell(candidate[None], [loss])
            ended = self._optimizer.stop
        if ended:
            with suppress(RuntimeError):  # outside of Study.optimize, there is nothing to stop
                study.stop()

    def _used(self, candidate: np.ndarray, trial: FrozenTrial) -> bool:
        """Whether a trial had the candidate's values, which another range may have excluded."""
        pairs = zip(self._distributions.items(), self._variables.point(candidate), strict=True)
        return all(
            math.isclose(
                d.to_internal_repr(_value(d, plain)), d.to_internal_repr(trial.params[name])
            )
            for (name, d), plain in pairs
            if name in trial.params
        )

    def _begin(self, study: Study) -> None:
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = min(completed, key=lambda trial: _sign(study) * (trial.value or 0.0))
        start = [_plain(d, best.params[name]) for name, d in self._distributions.items()]
        variables = [_variable(each) for each in self._distributions.values()]
        natively = searches(self._spec, choices=True)
        self._variables = Variables(variables, start, natively=natively)
        known = options_for(self._spec, rounded=self._variables.rounded)
        made = create(
            self._spec, self._variables.space, budget=self._budget, seed=self._seed, **known
        )
        if made.learns_from_outputs:
            raise OptimizerError(
                f"{self._spec!r} learns from outputs, which a trial does not have: take another "
                f"optimizer"
            )
        self._optimizer = made


def _sign(study: Study) -> int:
    return -1 if study.direction == StudyDirection.MAXIMIZE else 1


def _steps(distribution: BaseDistribution) -> float | None:
    """The step of a distribution whose values are counted from the lowest; None: they are not."""
    step = getattr(distribution, "step", None)
    return None if isinstance(distribution, IntDistribution) and step == 1 else step


def _variable(distribution: BaseDistribution) -> Variable:
    """The variable that stands for a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(range(len(distribution.choices)))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if step := _steps(distribution):
        return Integer(0, round((distribution.high - distribution.low) / step))
    if isinstance(distribution, IntDistribution):
        return Integer(distribution.low, distribution.high, distribution.log)
    return Real(distribution.low, distribution.high, distribution.log)


def _plain(distribution: BaseDistribution, value: Any) -> Any:
    """The variable's value for a parameter's."""
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    step = _steps(distribution)
    return round((value - distribution.low) / step) if step else value  # type: ignore[attr-defined]


def _value(distribution: BaseDistribution, plain: Any) -> Any:
    """The parameter's value for the variable's, the inverse of :func:`_plain`."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[plain]
    if step := _steps(distribution):
        return min(distribution.low + plain * step, distribution.high)  # type: ignore[attr-defined]
    return plain
