"""One task, read from a plain folder and from the published layout: equal images and results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from craft_zoo.benchmarks import Bench, RunStore, combine, cross
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, Sampling, few_shot, load_dataset
from craft_zoo.data.published import published_datasets
from craft_zoo.openclip import OpenCLIP

NAMES = published_datasets()["eurosat"].renamed  # class folders → CoOp's words


@pytest.fixture(scope="module")
def roots(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real images of EuroSAT, by links: in a plain folder, and in CoOp's layout."""
    own, root = (tmp_path_factory.mktemp(name) for name in ("own", "root"))
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for part, count in (("train", 25), ("test", 10)):
        for label, (folder, words) in enumerate(NAMES.items()):
            images = root / "eurosat" / "2750" / folder
            images.mkdir(parents=True, exist_ok=True)
            (own / part / folder).mkdir(parents=True)
            for image in sorted((shared_data / "eurosat" / part / folder).iterdir())[:count]:
                (images / image.name).symlink_to(image)
                (own / part / folder / image.name).symlink_to(image)
                split[part].append([f"{folder}/{image.name}", label, words])
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return own, root


@pytest.fixture(scope="module")
def names_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("".join(f"{folder}\t{words}\n" for folder, words in NAMES.items()))
    return path


@pytest.mark.parametrize("sampling", ["uniform", "coop"])
def test_the_same_few_shot_sets(
    sampling: Sampling, roots: tuple[Path, Path], names_file: Path
) -> None:
    own = load_dataset(f"folder:{roots[0]}", classnames=names_file)
    field = load_dataset("eurosat", root=roots[1])
    assert own.classnames == field.classnames
    for seed in (1, 2):
        one, other = (few_shot(d, 4, seed, sampling=sampling) for d in (own, field))
        for part in ("train", "test"):
            mine, theirs = getattr(one, part), getattr(other, part)
            assert [Path(str(i)).name for i in mine.images] == [
                Path(str(i)).name for i in theirs.images
            ]
            assert mine.labels.tolist() == theirs.labels.tolist()


def test_the_same_results(
    vlm: OpenCLIP, roots: tuple[Path, Path], names_file: Path, tmp_path: Path
) -> None:
    common = {
        "variants": combine(["zero-shot", "craft"], ["logit-gn"], CraftConfig()),
        "shots": [1],
        "seeds": [1],
        "budgets": [40],
    }
    folder = DatasetSpec(f"folder:{roots[0]}", str(names_file))
    own = cross("craft-mini", [folder], **common)
    field = cross("craft-mini", [DatasetSpec("eurosat", root=str(roots[1]))], **common)
    curves = Bench(vlm, RunStore(tmp_path)).run([*own, *field])
    for mine, theirs in zip(own, field, strict=True):
        assert [replace(p, seconds=0) for p in curves[mine]] == [
            replace(p, seconds=0) for p in curves[theirs]
        ]
