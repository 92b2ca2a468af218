"""Studies of Optuna whose sampler is an optimizer of craft-zoo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from craft_zoo.optimizers import Choice, Integer, OptimizerError, Real, minimize

optuna = pytest.importorskip("optuna")

from craft_zoo.optuna_sampler import CraftZooSampler  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggested(trial: Any) -> dict[str, Any]:
    return {
        "rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True),
        "layers": trial.suggest_int("layers", 1, 8),
        "act": trial.suggest_categorical("act", ["relu", None]),
        "width": trial.suggest_int("width", 0, 40, step=10),
        "drop": trial.suggest_float("drop", 0.0, 0.9, step=0.3),
        "fixed": trial.suggest_int("fixed", 3, 3),
    }


def loss(p: dict[str, Any]) -> float:
    far = (np.log10(p["rate"]) + 2) ** 2 + (p["layers"] - 5) ** 2 + abs(p["width"] - 20) / 10
    return float(far + abs(p["drop"] - 0.3) + (p["act"] is None))


def study(**settings: Any) -> Any:
    settings = {"optimizer": "cma:popsize=6", "budget": 30, "seed": 1} | settings
    direction = settings.pop("direction", "minimize")
    return optuna.create_study(sampler=CraftZooSampler(**settings), direction=direction)


def points(of: Any) -> list[dict[str, Any]]:
    return [trial.params for trial in of.trials]


@pytest.mark.parametrize("optimizer", ["cma:popsize=6", "nevergrad:OnePlusOne", "random"])
def test_the_trials_are_those_of_minimize(optimizer: str) -> None:
    ours = study(optimizer=optimizer)
    ours.optimize(lambda trial: loss(suggested(trial)), n_trials=100)
    first, *others = points(ours)
    assert len(others) == 30  # then the study was stopped
    space = {
        "rate": Real(1e-5, 1e-1, log=True),
        "layers": Integer(1, 8),
        "act": Choice(["relu", None]),
        "width": Integer(0, 4),
        "drop": Integer(0, 3),
    }

    def f(p: dict[str, Any]) -> float:
        seen.append({**p, "width": 10 * p["width"], "drop": 0.3 * p["drop"], "fixed": 3})
        return loss(seen[-1])

    seen: list[dict[str, Any]] = []
    x0 = {name: first[name] for name in ("rate", "layers", "act")}
    x0 |= {"width": first["width"] // 10, "drop": round(first["drop"] / 0.3)}
    minimize(
        f,
        x0,
        space={name: space[name] for name in sorted(space)},
        budget=30,
        optimizer=optimizer,
        seed=1,
    )
    for found, expected in zip(others, seen, strict=True):
        assert found == pytest.approx(expected)


def test_a_maximum_is_sought_by_the_same_trials() -> None:
    least, most = study(), study(direction="maximize")
    least.optimize(lambda trial: loss(suggested(trial)), n_trials=20)
    most.optimize(lambda trial: -loss(suggested(trial)), n_trials=20)
    assert points(least) == points(most)


def test_failed_and_pruned_trials_do_not_end_the_search() -> None:
    def objective(trial: Any) -> float:
        found = loss(suggested(trial))
        if trial.number % 5 == 1:
            raise ZeroDivisionError
        if trial.number % 5 == 2:
            raise optuna.TrialPruned
        return found

    ours = study()
    ours.optimize(objective, n_trials=31, catch=(ZeroDivisionError,))
    states = [trial.state.name for trial in ours.trials]
    assert (states.count("FAIL"), states.count("PRUNED"), len(states)) == (6, 6, 31)
    assert ours.sampler._optimizer.remaining == 0


def test_several_threads() -> None:
    ours = study()
    ours.optimize(lambda trial: loss(suggested(trial)), n_trials=25, n_jobs=3)
    assert {trial.state.name for trial in ours.trials} == {"COMPLETE"}


def test_parameters_that_some_trials_lack_are_drawn_at_random() -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -1, 1)
        return x**2 + (trial.suggest_float("y", 0, 1) if trial.number % 2 else 0)

    ours = study()
    ours.optimize(objective, n_trials=6)
    assert list(ours.sampler._distributions) == ["x"]


def test_the_optimizer_is_told_losses_of_its_own_candidates_only() -> None:
    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -5, -4 if trial.number > 9 else 5)
        return (x - 1) ** 2 + trial.suggest_float("y", -5, 5) ** 2

    ours = study(optimizer="nelder-mead")
    ours.optimize(objective, n_trials=5)
    optimizer, told = ours.sampler._optimizer, []
    tell = optimizer.tell

    def noted(candidates: np.ndarray, losses: list[float]) -> None:
        told.append((ours.sampler._variables.point(candidates[0]), losses[0]))
        tell(candidates, losses)

    optimizer.tell = noted
    ours.enqueue_trial({"x": 1.0})
    ours.optimize(objective, n_trials=1)
    assert not told
    assert points(ours)[-1]["x"] == 1
    ours.optimize(objective, n_trials=10)  # in the last 6, the range excludes its values
    assert len(told) == 10
    assert [loss for _, loss in told[:4]] == [(x - 1) ** 2 + y**2 for (x, y), _ in told[:4]]
    assert all(np.isnan(loss) or x <= -4 for (x, _), loss in told[4:])


def test_a_loaded_study_goes_on_from_its_best_trial() -> None:
    def objective(trial: Any) -> float:
        return loss(
            {"act": "relu", "width": 20, "drop": 0.3}
            | {
                "rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True),
                "layers": trial.suggest_int("layers", 1, 8),
            }
        )

    before = study()
    before.optimize(objective, n_trials=20)
    after = optuna.create_study(sampler=CraftZooSampler("nelder-mead", budget=10, seed=2))
    after.add_trials(before.trials)
    after.optimize(objective, n_trials=1)
    assert points(after)[-1] == pytest.approx(before.best_params)  # nelder-mead begins there


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(OptimizerError, match="unknown optimizer"):
        CraftZooSampler("cmaes", budget=10)
    both = optuna.create_study(
        sampler=CraftZooSampler(budget=10), directions=["minimize", "maximize"]
    )
    with pytest.raises(OptimizerError, match="one objective"):
        both.optimize(lambda trial: (1.0, trial.suggest_float("x", 0, 1)), n_trials=1)
    with pytest.raises(OptimizerError, match="learns from outputs"):
        study(optimizer="logit-gn").optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2)
