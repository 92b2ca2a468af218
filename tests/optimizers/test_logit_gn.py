"""logit-gn: learning from logits gets further than learning from losses alone."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.optimizers import Optimizer, OptimizerError, Space, create, restore
from craft_zoo.optimizers.output_basis import OutputBasis
from craft_zoo.optimizers.secants import LinearModel, SecantMemory
from craft_zoo.optimizers.testing import classification, mean_cross_entropy
from craft_zoo.optimizers.trust_region import BallMinimizer


def squares(outputs: np.ndarray) -> tuple[float, np.ndarray]:
    return float(np.square(outputs).sum()) / 2, outputs


def reach(spec: str, residuals, dim: int, budget: int, noise: float = 0.0) -> float:
    """Least squares of a vector-valued function, as (noiseless) loss of the recommended point."""
    optimizer = create(spec, dim, budget=budget, seed=1)
    optimizer.output_loss = squares
    rng = np.random.default_rng(5)
    while not optimizer.stop:
        candidates = optimizer.ask()
        outputs = [residuals(z) for z in candidates]
        outputs = [each + noise * rng.standard_normal(each.shape) for each in outputs]
        optimizer.tell(candidates, [squares(each)[0] for each in outputs], outputs)
    return squares(residuals(optimizer.recommend()))[0]


def curved(z: np.ndarray) -> np.ndarray:
    """Residuals that are zero at 0.5 in each of the 20 coordinates, and not linear."""
    moved = z - 0.5
    return np.concatenate([moved + 0.2 * moved**2, np.sin(moved)[::-1] - 0.1 * moved])


def test_it_needs_outputs_and_their_loss() -> None:
    optimizer = create("logit-gn", 4, budget=100, seed=1)
    candidates = optimizer.ask()
    losses, outputs = classification(4)(candidates)
    with pytest.raises(OptimizerError, match="'logit-gn' learns from outputs: pass outputs"):
        optimizer.tell(candidates, losses)
    with pytest.raises(OptimizerError, match="'logit-gn' needs the convex loss of the outputs"):
        optimizer.tell(candidates, losses, outputs)
    optimizer.output_loss = mean_cross_entropy
    optimizer.tell(candidates, losses, outputs)
    assert optimizer.evaluations == len(candidates)


def test_the_whole_answer_is_worth_many_evaluations() -> None:
    """In 20 dimensions, 150 evaluations: far below what the loss alone leads to."""
    start = squares(curved(np.zeros(20)))[0]
    ours = reach("logit-gn:shrink=0", curved, 20, 150)
    assert ours < 1e-3 * start
    assert ours < 0.01 * reach("cma", curved, 20, 150)


@pytest.mark.parametrize("popsize", [1, 2, 5, 40])
def test_any_generation_size(popsize: int) -> None:
    start = squares(curved(np.zeros(20)))[0]
    assert reach(f"logit-gn:shrink=0,popsize={popsize}", curved, 20, 300) < 0.02 * start


def test_noise_does_not_hold_it() -> None:
    """One center that noise has flattered is evaluated again."""
    start = squares(curved(np.zeros(20)))[0]
    assert reach("logit-gn:shrink=0", curved, 20, 600, noise=0.05) < 0.05 * start


def test_a_loss_that_changes_is_followed() -> None:
    """What is remembered are outputs, so a new loss needs no new evaluation to be aimed at."""
    optimizer = create("logit-gn:shrink=0", 3, budget=200, seed=1)
    target = np.array([1.0, -1.0, 0.5])
    for aim in (target, -target):
        optimizer.output_loss = lambda outputs, aim=aim: squares(outputs - aim)
        for _ in range(5):
            candidates = optimizer.ask()
            optimizer.tell(candidates, np.zeros(len(candidates)), list(candidates))
        assert np.allclose(optimizer.recommend(), aim, atol=0.01)


def test_outputs_of_another_shape_are_refused() -> None:
    optimizer = create("logit-gn", 3, budget=200, seed=1)
    optimizer.output_loss = squares
    for shape in ((2,), (3,)):
        candidates = optimizer.ask()
        told = [np.zeros(shape) for _ in candidates]
        if shape == (2,):
            optimizer.tell(candidates, np.zeros(len(candidates)), told)
        else:
            with pytest.raises(OptimizerError, match="give all the same shape"):
                optimizer.tell(candidates, np.zeros(len(candidates)), told)


def test_the_memory_forgets_by_count_and_by_size() -> None:
    memory = SecantMemory(points=5, size=10**9)
    for number in range(9):
        memory.add(np.full((1, 1, 2), float(number)), np.zeros((1, 1, 3), np.float32))
    assert memory.points[:, 0, 0].tolist() == [4, 5, 6, 7, 8]
    small = SecantMemory(points=5, size=65)  # three points of 8 bytes and outputs of 12
    small.add(np.zeros((5, 1, 2)), np.zeros((5, 1, 3), np.float32))
    assert len(small) == 3


@pytest.mark.parametrize("count", [3, 30])
def test_the_model_is_right_for_linear_functions(count: int) -> None:
    """Two blocks, each a linear function of 6 variables of its own."""
    rng = np.random.default_rng(1)
    slopes, center = rng.standard_normal((2, 6, 4)), rng.standard_normal((2, 6))
    points = center + 0.1 * rng.standard_normal((count, 2, 6))
    memory = SecantMemory(points=100, size=10**9)
    memory.add(points, np.einsum("kbd,bdn->kbn", points, slopes).astype(np.float32))
    at = np.einsum("bd,bdn->bn", center, slopes).astype(np.float32)
    model = memory.model(center, at, reach=100.0)
    assert model is not None
    t = 0.1 * rng.standard_normal((2, 6))
    inside = model.project(t.astype(np.float32)[:, None])[:, 0]
    assert np.allclose(inside, t, atol=1e-3) == (count >= 6)
    assert np.allclose(np.vdot(inside, t - inside), 0, atol=1e-4)
    assert np.allclose(model.change(inside), np.einsum("bd,bdn->bn", inside, slopes), atol=2e-3)
    gradient = rng.standard_normal((2, 4)).astype(np.float32)
    whole = np.einsum("bdn,bn->bd", slopes, gradient).astype(np.float32)
    assert np.allclose(model.slope(gradient), model.project(whole[:, None])[:, 0], atol=1e-2)


@pytest.mark.parametrize("most_bytes", [2**27, 0])
def test_the_model_does_not_depend_on_when_its_points_came(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory that has seen other centers and forgotten points, and one with the points alone."""
    monkeypatch.setattr("craft_zoo.optimizers.secants._MOST_BYTES", most_bytes)
    rng = np.random.default_rng(3)
    points = rng.standard_normal((24, 2, 40))
    outputs = rng.standard_normal((24, 2, 5)).astype(np.float32)
    used, new = SecantMemory(points=16, size=10**9), SecantMemory(points=16, size=10**9)
    for start in range(0, 24, 4):
        used.add(points[start : start + 4], outputs[start : start + 4])
        used.model(points[start], outputs[start], reach=10.0)
    new.add(points[8:], outputs[8:])
    t = rng.standard_normal((2, 40)).astype(np.float32)
    models = [memory.model(points[20], outputs[20], reach=10.0) for memory in (used, new)]
    changes = [model.change(model.step(t)) for model in models if model is not None]
    assert np.allclose(changes[0], changes[1], atol=1e-3 * np.abs(changes[0]).max())


@pytest.mark.parametrize("most_bytes", [2**27, 0])
def test_points_that_fall_together_have_a_model(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their kernel is singular but for the noise, and rounding may leave it indefinite."""
    monkeypatch.setattr("craft_zoo.optimizers.secants._MOST_BYTES", most_bytes)
    rng = np.random.default_rng(4)
    memory = SecantMemory(points=100, size=10**9)
    far = rng.standard_normal((1, 1, 40))
    points = np.concatenate([1e3 * far, np.zeros((30, 1, 40))])
    memory.add(points, rng.standard_normal((31, 1, 2)).astype(np.float32))
    model = memory.model(np.zeros((1, 40)), np.zeros((1, 2), np.float32), reach=1.0)
    assert model is not None
    assert np.isfinite(model.jacobian).all()
    # In coordinates of the moves' span, where these are few enough, or in the variables.
    assert np.allclose(model.variables(model.step(far[0])), far[0], rtol=1e-2, atol=1e-3)


def test_points_of_very_different_distances_have_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances that were first computed from a far center have errors of its distance."""
    monkeypatch.setattr("craft_zoo.optimizers.secants._MOST_BYTES", 0)
    rng = np.random.default_rng(0)
    memory = SecantMemory(points=100, size=10**9)
    start = 1e4 * rng.standard_normal((1, 200))
    memory.add(start[None], np.zeros((1, 1, 3), np.float32))
    for generation in range(20):
        points = rng.standard_normal((5, 1, 200))
        memory.add(points, rng.standard_normal((5, 1, 3)).astype(np.float32))
        center = start if generation < 10 else np.zeros((1, 200))
        model = memory.model(center, np.zeros((1, 3), np.float32), 1.0)
        assert model is not None
        assert np.isfinite(model.jacobian).all()


def low_rank(rng: np.random.Generator, count: int, rank: int) -> np.ndarray:
    """(count, 5, 40) outputs around a point, in a space of ``rank`` dimensions."""
    space = rng.standard_normal((rank, 40))
    moved = rng.standard_normal((count, 5, rank)) @ space
    return (rng.standard_normal((5, 40)) + moved).astype(np.float32)


def test_outputs_of_low_rank_take_few_numbers() -> None:
    outputs = low_rank(np.random.default_rng(1), 30, 8)
    span = OutputBasis.of(outputs)
    assert span.basis is not None
    assert span.basis.shape == (8, 40)
    written = span.coordinates(outputs)
    assert np.allclose(span.outputs(written), outputs - span.origin, atol=1e-4)
    gradient = np.ones((5, 40), np.float32)
    slope = np.vdot(span.slope(gradient), written[3])
    assert slope == pytest.approx(np.vdot(gradient, outputs[3] - span.origin), rel=1e-4)
    assert OutputBasis.of(low_rank(np.random.default_rng(1), 30, 25)).basis is None
    assert OutputBasis.of(outputs[:3]).basis is None, "too few to tell"
    assert OutputBasis.of(1e18 * outputs).basis is None, "too large to square"


def test_the_space_grows_and_what_is_remembered_stays() -> None:
    rng = np.random.default_rng(2)
    first, second = low_rank(rng, 30, 8), low_rank(rng, 4, 3)
    memory = SecantMemory(points=100, size=10**9)
    for outputs in (first, second, second):
        memory.add(rng.standard_normal((len(outputs), 5, 2)), outputs)
    span = memory.span
    assert span is not None
    assert span.basis is not None
    assert 8 < len(span.basis) <= 8 + 3 + 5, "the second's space and its center"
    assert np.allclose(span.basis @ span.basis.T, np.eye(len(span.basis)), atol=1e-5)
    told = np.concatenate([first, second, second])
    assert np.allclose(span.origin + span.outputs(memory.outputs), told, atol=1e-2)


def test_the_minimum_in_balls() -> None:
    rng = np.random.default_rng(0)
    jacobian = rng.standard_normal((2, 3, 8)).astype(np.float32)
    at = 3 * rng.standard_normal((2, 8)).astype(np.float32)
    unit = np.broadcast_to(np.eye(3, dtype=np.float32), (2, 3, 3))
    model = LinearModel(unit, jacobian, at, OutputBasis(at))
    center = rng.standard_normal((2, 3))

    evaluated = []

    def loss(outputs: np.ndarray) -> tuple[float, np.ndarray]:
        evaluated.append(outputs.tobytes())
        return float(np.vdot(outputs, outputs)) / 2, outputs

    def predicted(t: np.ndarray) -> np.ndarray:
        return at + np.einsum("bd,bdn->bn", t, jacobian)

    def value(t: np.ndarray) -> float:
        return loss(predicted(t))[0] + 0.1 / 2 * float(np.vdot(center + t, center + t))

    ball = BallMinimizer(loss, model, center, l2_penalty=0.1, iterations=300)
    inside = ball.minimize(0.1)
    assert len(set(evaluated)) == len(evaluated)  # none twice, not even where it restarts
    assert np.allclose(np.linalg.norm(inside, axis=1), 0.1, atol=1e-6)
    others = rng.standard_normal((500, 2, 3))
    others *= 0.1 / np.linalg.norm(others, axis=2, keepdims=True)
    assert value(inside) <= min(value(t) for t in others) + 1e-5
    assert ball.loss == pytest.approx(loss(predicted(inside))[0], rel=1e-5)
    before = len(evaluated)
    wide = ball.minimize(10.0)
    assert len(evaluated) - before < 60, "it ends where nothing more is to win"
    curvature = jacobian @ jacobian.transpose(0, 2, 1) + 0.1 * np.eye(3)
    slope = np.einsum("bdn,bn->bd", jacobian, at) + 0.1 * center
    least = np.linalg.solve(curvature, -slope[:, :, None])[:, :, 0]
    assert value(least) <= value(wide) <= value(least) * 1.001


def many_curves(z: np.ndarray) -> np.ndarray:
    """(20, 8): each of 8 columns is the curved function of its own 20 variables."""
    return np.stack([curved(piece + 0.1 * b)[:20] for b, piece in enumerate(z.reshape(8, 20))], 1)


def test_blocks_are_learnt_side_by_side() -> None:
    """160 variables in 8 blocks take little more than 20 do; without blocks far more."""
    start = squares(many_curves(np.zeros(160)))[0]
    ends = {}
    for blocks in (8, 1):
        space = Space(160, blocks=blocks)
        optimizer = create("logit-gn:shrink=0", space, budget=150, seed=1)
        optimizer.output_loss = squares
        while not optimizer.stop:
            candidates = optimizer.ask()
            outputs = [many_curves(z) for z in candidates]
            optimizer.tell(candidates, [squares(each)[0] for each in outputs], outputs)
        ends[blocks] = squares(many_curves(optimizer.recommend()))[0]
    assert ends[8] < 1e-3 * start
    assert ends[8] < 0.01 * ends[1]


def test_few_numbers_lead_as_far_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs repeated 6 times (so of low rank) are learnt from as if nobody had noticed."""
    ends = []
    for of in (OutputBasis.of, lambda outputs: OutputBasis(outputs[0])):
        monkeypatch.setattr(OutputBasis, "of", of)
        optimizer = create("logit-gn:shrink=0", Space(160, blocks=8), budget=200, seed=1)
        optimizer.output_loss = squares
        first = optimizer
        while not optimizer.stop:
            candidates = optimizer.ask()
            outputs = [np.repeat(many_curves(z)[:8], 6, axis=0) for z in candidates]
            optimizer.tell(candidates, np.zeros(len(candidates)), outputs)
            if optimizer is first:
                optimizer = restore(optimizer.state())
                optimizer.output_loss = squares
        ends.append(optimizer.recommend())
        bases = "basis" in optimizer.state()
        assert bases == (len(ends) == 1)
    assert np.allclose(*ends, atol=0.02)


def test_outputs_that_do_not_come_in_blocks_are_refused() -> None:
    optimizer = create("logit-gn", Space(6, blocks=3), budget=100, seed=1)
    optimizer.output_loss = squares
    candidates = optimizer.ask()
    with pytest.raises(OptimizerError, match="do not divide into 3 blocks"):
        optimizer.tell(candidates, np.zeros(len(candidates)), [np.zeros((5, 2))] * len(candidates))


def test_blocks_are_part_of_the_state() -> None:
    def go_on(optimizer: Optimizer, generations: int) -> None:
        for _ in range(generations):
            candidates = optimizer.ask()
            outputs = [many_curves(z) for z in candidates]
            optimizer.tell(candidates, np.zeros(len(candidates)), outputs)

    first = create("logit-gn", Space(160, blocks=8), budget=500, seed=1)
    first.output_loss = squares
    go_on(first, 3)
    second = restore(first.state())
    second.output_loss = squares
    for optimizer in (first, second):
        go_on(optimizer, 3)
    assert second.blocks == 8
    assert np.array_equal(first.recommend(), second.recommend())


def images(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """(dim, count) derivatives of many outputs that vary in five directions only."""
    return rng.standard_normal((dim, 5)) @ rng.standard_normal((5, count))


def test_errors_of_many_outputs_are_told_from_changes() -> None:
    """Where steps change outputs together, what they change is estimated far better than seen."""
    rng = np.random.default_rng(6)
    slopes = np.stack([images(rng, 60, 30) for _ in range(2)])
    points = 0.3 * rng.standard_normal((25, 2, 30))
    truth = np.einsum("kbd,bdn->kbn", points, slopes)
    seen = (truth + 3 * rng.standard_normal(truth.shape)).astype(np.float32)
    memory = SecantMemory(points=100, size=10**9)
    memory.add(points, seen)
    smoothed = memory.smoothed(points[0], seen[0], reach=100.0, noise=9.0, latest=4)
    exact = memory.model(points[0], seen[0], reach=100.0)
    assert smoothed is not None
    assert exact is not None

    def error(expected: np.ndarray, right: np.ndarray) -> float:
        return float(np.sqrt(np.square(expected - right).mean()))

    assert error(smoothed.model.at, truth[0]) < 0.5 * error(seen[0], truth[0])
    assert error(smoothed.latest, truth[-4:]) < 0.7 * error(seen[-4:], truth[-4:])
    step = points[1] - points[0]
    change = truth[1] - truth[0]
    assert error(smoothed.model.change(step), change) < 0.5 * error(exact.change(step), change)
    length = smoothed.distance / np.linalg.norm(step, axis=1).mean()
    assert length * np.sqrt(np.square(change).mean()) == pytest.approx(3, rel=0.5)


def test_without_errors_the_smoothed_model_is_the_exact_one() -> None:
    rng = np.random.default_rng(7)
    slopes = np.stack([images(rng, 60, 30) for _ in range(2)])
    points = 0.3 * rng.standard_normal((40, 2, 30))
    outputs = np.einsum("kbd,bdn->kbn", points, slopes).astype(np.float32)
    memory = SecantMemory(points=100, size=10**9)
    memory.add(points, outputs)
    smoothed = memory.smoothed(points[0], outputs[0], reach=100.0, noise=1e-8, latest=3)
    exact = memory.model(points[0], outputs[0], reach=100.0)
    assert smoothed is not None
    assert exact is not None
    step = 0.3 * rng.standard_normal((2, 30))
    assert np.allclose(smoothed.model.change(step), exact.change(step), atol=0.02)
    assert np.allclose(smoothed.latest, outputs[-3:], atol=0.02)


def test_a_point_evaluated_twice_makes_it_stand_noise() -> None:
    """Noise as large as a step's changes; the same search that is not told of it stands still."""
    slopes = np.stack([images(np.random.default_rng(8), 60, 30) for _ in range(2)], axis=2)
    target = slopes.mean(axis=0) * 5

    def residuals(z: np.ndarray) -> np.ndarray:
        return np.einsum("bd,dnb->nb", z.reshape(2, 30), slopes) - target

    def end(told_twice: bool) -> float:
        optimizer = create("logit-gn:shrink=0", Space(60, blocks=2), budget=200, seed=1)
        optimizer.output_loss = squares
        rng = np.random.default_rng(9)

        def noisy(z: np.ndarray) -> np.ndarray:
            exact = residuals(z)
            return exact + 6 * rng.standard_normal(exact.shape)

        start = noisy(np.zeros(60))
        while not optimizer.stop:
            candidates = optimizer.ask()
            outputs = [noisy(z) for z in candidates]
            optimizer.tell(candidates, np.zeros(len(candidates)), outputs)
            if told_twice and optimizer.evaluations == len(candidates):
                optimizer.add(np.zeros(60), squares(start)[0], start)
                optimizer = restore(optimizer.state())
                optimizer.output_loss = squares
        return squares(residuals(optimizer.recommend()))[0]

    assert end(told_twice=True) < 0.6 * end(told_twice=False)


@pytest.mark.parametrize("error", [0.0, 1e-5])
def test_equal_evaluations_of_a_point_change_nothing(error: float) -> None:
    """Rounding errors are no noise; a fifth of wrong outputs is none either."""
    ends = []
    for twice in (False, True):
        optimizer = create("logit-gn", Space(160, blocks=8), budget=100, seed=1)
        optimizer.output_loss = squares
        while not optimizer.stop:
            candidates = optimizer.ask()
            outputs = [many_curves(z) for z in candidates]
            optimizer.tell(candidates, np.zeros(len(candidates)), outputs)
            if twice and optimizer.evaluations == len(candidates):
                again = many_curves(np.zeros(160)) + error * np.sign(outputs[0])
                again[:4] += 1
                optimizer.add(np.zeros(160), 0.0, again)
        ends.append(optimizer.recommend())
    assert np.array_equal(*ends)


def test_a_point_added_while_candidates_are_out_leaves_the_state_as_it_is() -> None:
    """A restored search asks for the same candidates again."""
    optimizer = create("logit-gn", 6, budget=100, seed=1)
    optimizer.output_loss = mean_cross_entropy
    for _ in range(2):
        candidates = optimizer.ask()
        losses, outputs = classification(6)(candidates)
        optimizer.tell(candidates, losses, outputs)
    asked = optimizer.ask()
    optimizer.add(candidates[0], losses[0], outputs[0] + 1)
    second = restore(optimizer.state())
    second.output_loss = mean_cross_entropy
    assert np.array_equal(second.ask(), asked)
