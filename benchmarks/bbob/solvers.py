"""Solvers for BBOB problems: craft-zoo's optimizers, and the bare libraries that they wrap."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cma
import numpy as np
from cma.restricted_gaussian_sampler import GaussVkDSampler

from craft_zoo import optimizers
from craft_zoo.benchmarks.bbob.peers import PEERS
from craft_zoo.benchmarks.bbob.problems import Problem
from craft_zoo.errors import CraftZooError
from craft_zoo.optimizers import OptimizerError
from craft_zoo.optimizers.auto import options_for
from craft_zoo.optimizers.cma import STEP_RULES

_RESTARTS = 100  # more than any budget allows, so no limit in practice


@dataclass(frozen=True)
class Solver:
    """An optimizer, run through craft-zoo or directly by its library ("bare").

    Attributes:
        spec: as given to :func:`craft_zoo.optimizers.create`; one of
            :data:`~craft_zoo.benchmarks.bbob.peers.PEERS` if bare.
        bare: use the library behind it without craft-zoo.
    """

    spec: str
    bare: bool = False

    @property
    def name(self) -> str:
        """Name in tables and files."""
        return f"{self.spec} (bare)" if self.bare else self.spec

    def run(self, problem: Problem, budget: int, seed: int) -> None:
        """Minimise ``problem``, which records the targets reached."""
        (run_bare if self.bare else run_spec)(self.spec, problem, budget, seed)


def check_spec(spec: str, dimension: int, budget: int) -> None:
    """Check that an optimizer can run on BBOB.

    Raises:
        CraftZooError: the optimizer learns from logits, not from losses alone.
        OptimizerError: an unknown optimizer or a wrong option.
    """
    optimizer = optimizers.create(spec, dimension, budget=budget, seed=0)
    if optimizer.learns_from_outputs:
        raise CraftZooError(f"optimizer {spec!r} learns from logits, and BBOB has losses only")


def has_bare(spec: str) -> bool:
    """Whether :func:`run_bare` knows the library behind an optimizer."""
    return spec.partition(":")[0] in _BARE or spec in PEERS


def run_spec(spec: str, problem: Problem, budget: int, seed: int) -> None:
    """Minimise through craft-zoo until the budget is spent, the problem is solved, or the optimizer
    stops or diverges. ``auto`` gets the problem's facts as options. The arguments are those of
    :func:`run_bare`.

    Raises:
        OptimizerError: an unknown optimizer or a wrong option.
    """
    known = options_for(spec, **problem.facts)
    optimizer = optimizers.create(spec, problem.dimension, budget=budget, seed=seed, **known)
    while not (optimizer.stop or problem.solved):
        try:
            candidates = optimizer.ask()
            optimizer.tell(candidates, [problem(candidate) for candidate in candidates])
        except OptimizerError:
            return


def run_bare(spec: str, problem: Problem, budget: int, seed: int) -> None:
    """Minimise with the library behind an optimizer, used as its documentation shows.

    The options are those of ``spec``, with craft-zoo's defaults (a population of 40). Where
    craft-zoo has no option, the library's behaviour applies, as in seeding global generators and
    in stopping criteria. pycma completes the generation that spends the budget, so it may exceed
    ``budget``.

    Args:
        spec: as given to :func:`craft_zoo.optimizers.create`.
        problem: records the targets reached.
        budget: evaluations.
        seed: seed of all random numbers; the global generators are left seeded.

    Raises:
        CraftZooError: the optimizer wraps no library, or the library failed.
    """
    if not has_bare(spec):
        raise CraftZooError(
            f"optimizer {spec!r} wraps no library to compare with: only {', '.join(_BARE)} do"
        )
    with warnings.catch_warnings(action="ignore"):
        try:
            if spec in PEERS:
                PEERS[spec](problem, budget, seed)
                return
            name, variant, options = read_spec(spec)
            _BARE[name](name, variant, options, problem, budget, seed)
        except Exception as error:
            raise CraftZooError(
                f"the bare library behind {spec!r} fails ({error}): leave bare (--bare) or "
                f"{spec!r} out"
            ) from error


def pycma_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of ``cma.CMAEvolutionStrategy`` for all options of cma, sep-cma or vkd-cma."""
    found: dict[str, Any] = {"popsize": options["popsize"], "verbose": -9}
    if options["bound"] is not None:
        found["bounds"] = [-options["bound"], options["bound"]]
    if name == "sep-cma":
        found["CMA_diagonal"] = True
    elif name == "vkd-cma":
        found = GaussVkDSampler.extend_cma_options(found)
    else:
        found["CMA_active"] = options["active"]
        found["CMA_diagonal"] = options["diagonal"]
        found["AdaptSigma"] = STEP_RULES[options["step"]]
    return found


def _pycma(
    name: str, variant: str, options: dict[str, Any], problem: Problem, budget: int, seed: int
) -> None:
    mean, sigma, policy = np.zeros(problem.dimension), options["sigma"], options["restarts"]
    settings = pycma_options(name, options) | {"seed": seed, "maxfevals": budget}
    if policy != "none":
        settings["ftarget"] = problem.last_target
        cma.fmin2(problem, mean, sigma, settings, restarts=_RESTARTS, bipop=policy == "bipop")
        return
    es = cma.CMAEvolutionStrategy(mean, sigma, settings)
    while not (es.stop() or problem.solved):
        candidates = es.ask()
        es.tell(candidates, [problem(candidate) for candidate in candidates])


def _nevergrad(
    name: str, variant: str, options: dict[str, Any], problem: Problem, budget: int, seed: int
) -> None:
    import nevergrad as ng  # slow to import, so only on use

    np.random.seed(seed)
    random.seed(seed)
    parametrization = ng.p.Array(init=np.zeros(problem.dimension))
    parametrization.set_mutation(sigma=options["sigma"])
    if options["bound"] is not None:
        parametrization.set_bounds(-options["bound"], options["bound"])
    parametrization.random_state = np.random.RandomState(seed)
    workers = min(options["workers"], budget)
    optimizer = ng.optimizers.registry[variant or "NGOpt"](
        parametrization, budget=budget, num_workers=workers
    )
    while not problem.solved and problem.evaluations < budget:
        batch = min(workers, budget - problem.evaluations)
        for candidate in [optimizer.ask() for _ in range(batch)]:
            optimizer.tell(candidate, problem(candidate.value))


_BARE: dict[str, Callable[..., None]] = {
    "cma": _pycma,
    "sep-cma": _pycma,
    "vkd-cma": _pycma,
    "nevergrad": _nevergrad,
}


def read_spec(spec: str) -> tuple[str, str, dict[str, Any]]:
    """Name, variant and all options of a spec, defaults included.

    Raises:
        OptimizerError: an unknown optimizer or a wrong option.
    """
    name, variant, given = optimizers.parse_spec(spec)
    defaults = {option.name: option.default for option in optimizers.options(name)}
    return name, variant, defaults | given
