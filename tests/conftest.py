"""Fixtures for all tests: craft-mini, tiny models, small tasks, generated images."""

from __future__ import annotations

import copy
import functools
import gc
import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# A missing download fails at once instead of after retries; read when the hub's client is loaded.
os.environ["HF_HUB_OFFLINE"] = "1"
# The same width of tables and help everywhere, also without a terminal and in pytest-xdist.
os.environ["COLUMNS"] = "120"

import hypothesis
import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from craft_zoo import data, methods, mini
from craft_zoo.blackbox import DEFAULT_INIT, ImageSet, load_vlm
from craft_zoo.data import Dataset, Task, few_shot, load_dataset
from craft_zoo.machine import keep_freed_memory, one_numpy_thread, process_context
from craft_zoo.openclip import OpenCLIP
from craft_zoo.openclip.cache import cache_folder
from craft_zoo.optimizers import registry as optimizer_registry

keep_freed_memory()

# How long an example takes depends on the machine.
hypothesis.settings.register_profile("craft-zoo", deadline=None, derandomize=True)
hypothesis.settings.load_profile("craft-zoo")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A feature cache for this session only."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # shared by all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRAFT_ZOO_CACHE", str(session / "features"))
        yield


def copied(create: Callable[[], tuple[Any, Any, Any]]) -> Callable[[], tuple[Any, Any, Any]]:
    """Creates a model once; each call returns a copy, with its preprocessing and tokenizer."""
    once = functools.cache(create)

    @functools.wraps(create)
    def parts() -> tuple[Any, Any, Any]:
        model, *others = once()
        return copy.deepcopy(model), *others

    return parts


@pytest.fixture(scope="session", autouse=True)
def craft_mini_is_read_once() -> Iterator[None]:
    """Loading craft-mini would take longer than most tests with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini, "create", copied(mini.create))
        yield


@pytest.fixture(scope="session", autouse=True)
def numpy_computes_on_one_thread() -> Iterator[None]:
    """As in tuning and benches, because busy-waiting threads of NumPy and PyTorch compete."""
    with one_numpy_thread():
        yield


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes after the test what it has registered."""
    for registry in (optimizer_registry, data.load, methods.registry):
        registry.REGISTRY.load()
        for name in ("items", "broken", "_sources"):
            monkeypatch.setattr(registry.REGISTRY, name, dict(getattr(registry.REGISTRY, name)))


@pytest.fixture(scope="session")
def craft_mini() -> OpenCLIP:
    model = load_vlm("craft-mini")
    assert isinstance(model, OpenCLIP)
    return model


@pytest.fixture(scope="session")
def vlm(craft_mini: OpenCLIP) -> OpenCLIP:
    return craft_mini


def random_parts(layers: int) -> tuple[Any, Any, Any]:
    """Model, preprocessing and tokenizer of a CLIP with random weights and craft-mini's shapes.

    With one layer, it encodes an image 30 times as fast as craft-mini.
    """
    vision = {"image_size": 32, "layers": layers, "width": 32, "patch_size": 8, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(512, vision_cfg=vision, text_cfg=text | {"layers": layers})
        for parameter in model.parameters():  # larger than the initial values
            parameter.data += 0.05 * torch.randn_like(parameter)
    preprocess = image_transform_v2(PreprocessCfg(size=(32, 32)), is_train=False)
    return model, preprocess, open_clip.SimpleTokenizer()


@copied
def tiny_parts() -> tuple[Any, Any, Any]:
    """The parts of a model with one layer in each tower."""
    return random_parts(1)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Any]:
    """Creates a tiny model, optionally of a subclass of OpenCLIP."""
    return lambda cls=OpenCLIP, **more: cls(*tiny_parts(), name="tiny", **more)


@pytest.fixture(scope="session")
def tiny_vlm(make_tiny: Callable[..., Any], own_cache: None) -> OpenCLIP:
    """A model with random weights, for tests that do not depend on accuracy."""
    model: OpenCLIP = make_tiny(cache=cache_folder())
    return model


@pytest.fixture(scope="session")
def two_layers(own_cache: None) -> OpenCLIP:
    """As ``tiny_vlm``, with two layers in each tower."""
    return OpenCLIP(*random_parts(2), name="two layers", cache=cache_folder())


@pytest.fixture
def tiny_craft_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that load craft-mini get ``tiny_vlm``, except those of ``start_command``."""
    monkeypatch.setattr(mini, "create", tiny_parts)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """``craft-zoo bench`` leaves out its plot, which takes a second."""
    monkeypatch.setattr("craft_zoo.benchmarks.results.plot_curves", lambda *_: [])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt; the workers of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Waits until a condition holds; fails if it does not within ``seconds``."""

    def wait(condition: Callable[[], object], seconds: float = 10) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends
            time.sleep(0.005)

    return wait


class Mortal(OpenCLIP):
    """A model that counts contexts and simulates a kill when a limit is exceeded."""

    class Died(BaseException):
        """Simulates that the process is killed."""

    asked = 0
    left = 10**9  # contexts until the kill

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> Any:
        box = super().classifier(classnames, init)
        ask = box.logits

        def logits(contexts: np.ndarray, images: ImageSet) -> Iterator[np.ndarray]:
            self.asked += len(contexts)
            self.left -= len(contexts)
            if self.left < 0:
                raise self.Died
            return ask(contexts, images)

        box.logits = logits  # type: ignore[method-assign]
        return box


@pytest.fixture
def mortal(make_tiny: Callable[..., Any]) -> Mortal:
    """A :class:`Mortal` with the weights of ``tiny_vlm``."""
    model: Mortal = make_tiny(Mortal)
    return model


@dataclass(frozen=True)
class CommandProcess:
    """``craft-zoo`` in a process of its own; its output goes to two files."""

    process: BaseProcess
    output: Path
    errors: Path


_COMMAND = """
import os, signal, sys
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
for number, path in ((1, output), (2, errors)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
signal.signal(signal.SIGINT, signal.default_int_handler)
exec(first)
if killed_after:
    import importlib, itertools
    (module, owner, name), calls = killed_after[0].rsplit(".", 2), itertools.count(1)
    owner = getattr(importlib.import_module(module), owner)
    whole = getattr(owner, name)
    def last(*arguments, **named):
        whole(*arguments, **named)
        if next(calls) == killed_after[1]:
            os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, last)
from craft_zoo.cli import main
sys.exit(main(arguments))
"""


@pytest.fixture
def start_command(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., CommandProcess]]:
    """Starts a command, after the Python code ``first``.

    The process is forked from a server that has imported PyTorch once for all tests.
    ``killed_after`` names a method, as ``module.Class.method``, and n: the process is killed after
    the n-th call.
    """
    started: list[BaseProcess] = []

    def start(
        arguments: Sequence[str], *, first: str = "", killed_after: tuple[str, int] | None = None
    ) -> CommandProcess:
        outputs = tmp_path_factory.mktemp("command")
        given = {
            "arguments": list(arguments),
            "first": first,
            "killed_after": killed_after,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "output": str(outputs / "output"),
            "errors": str(outputs / "errors"),
        }
        context: Any = process_context("craft_zoo.cli.bench")
        process = context.Process(target=exec, args=(_COMMAND, given))
        process.start()
        started.append(process)
        return CommandProcess(process, outputs / "output", outputs / "errors")

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def small_task(digits: Dataset) -> Task:
    """Two shots of each digit, five test images of each."""
    task = few_shot(digits, shots=2, seed=1)
    first = np.concatenate([np.flatnonzero(task.test.labels == label)[:5] for label in range(10)])
    return Task(task.name, task.classnames, task.train, task.test.take(first))


COLOURS = {"red_square": (200, 30, 30), "GreenField": (30, 180, 40), "blue-sky": (40, 60, 220)}


def write_images(folder: Path, colour: tuple[int, int, int], count: int, seed: int) -> None:
    """Write images of one colour with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = np.clip(np.array(colour) + rng.integers(-60, 60, (40, 48, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/ with 4 and test/ with 3 images of three colours."""
    root = tmp_path / "colours"
    for number, (name, colour) in enumerate(COLOURS.items()):
        write_images(root / "train" / name, colour, 4, number)
        write_images(root / "test" / name, colour, 3, 100 + number)
    return root


@pytest.fixture(scope="session")
def published_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with every published data set, tiny; to read, not to write."""
    builder = Path(__file__).parent / "craft_zoo" / "data" / "published_layouts.py"
    root = tmp_path_factory.mktemp("published")
    runpy.run_path(str(builder))["write_published"](root)
    return root


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images; tests that use it are skipped if it is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CRAFT_ZOO_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_finish() -> None:
    # Excludes a million objects of imported modules from garbage collection.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: give --slow to run it"))
