"""What works without the extra ``torch``: optimizers, data, and tuning against a served model.

tests/craft_zoo/client/test_without_torch.py runs it as ``python without_torch.py URL FOLDER``, with
a key in CRAFT_ZOO_API_KEY; .ci/run does so in a fresh environment.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np

import craft_zoo as cz
from craft_zoo import data, local_features, methods
from craft_zoo.cli.main import build_parser, main
from craft_zoo.optimizers import minimize
from craft_zoo.optimizers import registry as optimizers


def said(*words: str) -> str:
    """The message of a command that bad input ends."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        code = main(words)
    assert code == 2, (words, code, error.getvalue())
    return error.getvalue()


def run(url: str, folder: Path) -> None:
    """Use what needs no PyTorch, and ask for what does."""
    with contextlib.suppress(ModuleNotFoundError):  # blocked, not missing
        assert importlib.util.find_spec("torch") is None
    for optimizer in ("auto", "cma", "nevergrad:OnePlusOne"):
        found = minimize(
            lambda x: float(((x - 0.5) ** 2).sum()), [0.0] * 3, optimizer=optimizer, budget=60
        )
        assert found.loss < 0.75, optimizer
    build_parser()  # imports every command
    for registry in (optimizers, data.load, methods.registry, local_features.registry):
        registry.REGISTRY.load()
        assert not registry.REGISTRY.broken, registry.REGISTRY.broken

    task = cz.few_shot(cz.load_dataset("digits"), shots=2, seed=1)
    vlm = cz.load_vlm(url)
    shown = task.test.images[:4]
    for method in ("refine", "craft"):
        tuned = cz.tune(vlm, task, method=method, budget=5, seed=1)
        tuned.adapter.save(folder / "adapter")
        probabilities = cz.Adapter.load(folder / "adapter").predict(vlm, shown)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(probabilities, tuned.adapter.predict(vlm, shown))

    out = str(folder / "no.adapter")
    extra = "pip install 'craft-zoo[torch]'\n"
    assert (
        said("tune", "digits", "--out", out)
        == f"craft-zoo: the model craft-mini needs the package torch: {extra}"
    )
    served = ("tune", "digits", "--model", url, "--out", out)
    assert (
        said(*served, "--method", "cbbt")
        == f"craft-zoo: method 'cbbt' needs the package torch: {extra}"
    )
    network = said(*served, "--method", "craft", "--set", "refiner=network")
    assert network == f"craft-zoo: the network refiner needs the package torch: {extra}"
    assert "torch" not in sys.modules


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
