"""Archives of runs, and runs of several sources beside each other."""

import io
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest

from craft_zoo.benchmarks import (
    Point,
    RunSpec,
    RunStore,
    lay_beside,
    read_results,
    write_archive,
    write_config,
)
from craft_zoo.benchmarks.archive import read_archive
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.errors import CraftZooError

RUN = RunSpec("craft-mini", DatasetSpec("folder:here/pets"), "craft", "cma", 16, 1, 80, data="abc")


def bench(folder: Path, *runs: RunSpec, accuracy: float = 0.5) -> Path:
    """A results folder with finished runs."""
    for run in runs:
        ends = [(0, 0.2), (80, accuracy)]
        points = [Point(queries, share, 0.9, 1.5, 160, 0, 9, 1.0) for queries, share in ends]
        RunStore(folder).save(run, points, None, transfer={"digits": 0.5} if run.transfer else None)
    write_config(runs, folder, {runs[0]: "first"})
    return folder


def test_an_archive_holds_what_its_folder_holds(tmp_path: Path) -> None:
    folder = bench(tmp_path / "a", RUN, replace(RUN, seed=2, transfer=("digits",)))
    assert write_archive(folder, tmp_path / "a.tar.xz") == 2
    assert read_results(tmp_path / "a.tar.xz") == read_results(folder)
    first = (tmp_path / "a.tar.xz").read_bytes()
    write_archive(folder, tmp_path / "a.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == first


def test_records_fit_the_archives_schema(tmp_path: Path) -> None:
    write_archive(bench(tmp_path / "a", RUN), tmp_path / "a.tar.xz")
    with tarfile.open(tmp_path / "a.tar.xz") as archive:
        content = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    validator = jsonschema_rs.validator_for(json.loads(content["schema.json"]))
    record = json.loads(content[f"runs/{RUN.identity}/run.json"])
    assert validator.is_valid(record)
    record["points"][0]["accuracy"] = 1.5
    assert not validator.is_valid(record)


def test_a_damaged_record_in_an_archive_is_named(tmp_path: Path) -> None:
    folder = bench(tmp_path / "a", RUN, replace(RUN, seed=2))
    record = folder / "runs" / RUN.identity / "run.json"
    record.write_text(record.read_text().replace("0.5", "0.6"))
    write_archive(folder, tmp_path / "a.tar.xz")
    results = read_results(tmp_path / "a.tar.xz")
    assert [run.seed for run in results.curves] == [2]
    assert f"runs/{RUN.identity}/run.json in " in results.broken[0]


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar.xz").write_bytes(content)
    with pytest.raises(CraftZooError, match=r"x\.tar\.xz cannot be read as an archive"):
        read_results(tmp_path / "x.tar.xz")


@pytest.mark.parametrize("suffix", ["xz", "gz", "bz2"])
def test_an_archive_with_a_changed_byte_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.tar.{suffix}"
    with tarfile.open(path, f"w:{suffix}") as archive:
        for number in range(50):
            member = tarfile.TarInfo(f"runs/{number}/run.json")
            member.size = 2000
            archive.addfile(member, io.BytesIO(random.Random(number).randbytes(2000)))
    content = bytearray(path.read_bytes())
    content[30] ^= 255
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    with pytest.raises(CraftZooError, match=r"x\.tar\.\w+ cannot be read as an archive"):
        list(read_archive(path))


def test_a_record_too_large_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as archive:
        member = tarfile.TarInfo("runs/x/run.json")
        member.size = 2**22 + 1
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(CraftZooError, match="more than"):
        read_results(tmp_path / "x.tar.xz")


def test_runs_beside_others(tmp_path: Path) -> None:
    there = replace(RUN, dataset=DatasetSpec("folder:there/pets"))
    other = replace(there, config=CraftConfig(scale=2.0), transfer=("digits",))
    mine = read_results(bench(tmp_path / "a", RUN))
    theirs = read_results(bench(tmp_path / "b", there, replace(there, seed=2), other, accuracy=0.9))
    both = lay_beside(mine, {"b": theirs})
    assert {run.dataset.name for run in both.curves} == {"folder:here/pets"}
    assert both.curves[RUN][-1].accuracy == 0.5  # the first's run
    assert len(both.curves) == 3
    assert list(both.transfers.values()) == [{"digits": 0.5}]
    assert both.sources == [
        "2 runs from b.",
        "Other results of 1 run in b are not shown, as a source before it has them too.",
    ]
    assert lay_beside(theirs, {"b": theirs}).sources == ["0 runs from b."]
    half = replace(theirs, others=[RUN])
    assert "Left out: 1 run of" in lay_beside(mine, {"b": half}).sources[1]
    elsewhere = replace(there, data="other images")
    names = lay_beside(mine, {"c": read_results(bench(tmp_path / "c", elsewhere))}).curves
    assert {run.dataset.name for run in names} == {"folder:here/pets", "folder:there/pets"}


def test_a_report_with_an_archive_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bench(tmp_path / "a", RUN)
    bench(tmp_path / "b", replace(RUN, method="craft-released"))
    archive = str(tmp_path / "b.tar.xz")
    assert main(["report", str(tmp_path / "b"), "--archive", archive]) == 0
    assert "b.tar.xz holds 1 run." in capsys.readouterr().out
    assert main(["report", str(folder), archive]) == 0
    page = (folder / "report" / "report.md").read_text()
    assert f"1 run from {archive}." in page
    assert "craft-released" in page


def test_an_empty_folder_makes_no_archive(tmp_path: Path) -> None:
    with pytest.raises(CraftZooError, match="holds no finished run"):
        write_archive(tmp_path, tmp_path / "a.tar.xz")
    assert not (tmp_path / "a.tar.xz").exists()
