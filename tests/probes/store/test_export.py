"""Results leave the store as they are, in memory that does not grow; room that was freed goes back to the disk."""

import csv
import json
import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, delete

from alerts.config import load_all
from probes.commands import commands
from probes.commands.storing import read_time
from probes.result import Phases, Reason, Result, Status
from probes.store.database import StoreError, open_database, writing
from probes.store.export import COLUMNS, ExportError, export_results
from probes.store.maintenance import vacuum
from probes.store.results import ResultWriter
from probes.store.schema import upgrade
from probes.store.tables import hot

T0 = 1_772_323_200_000
MINUTE, HOUR = 60_000, 3_600_000


def silent(what: str, done: int, total: int) -> None:
    assert done <= total


def make(hours: int, checks: int = 3) -> list[Result]:
    return [
        Result(
            f"shop/t{check}/http",
            "default",
            at + check,
            at + check + 7,
            Status.DOWN if at % (7 * MINUTE) == 0 else Status.UP,
            Reason.DEADLINE if at % (7 * MINUTE) == 0 else None,
            'no "answer", late' if at % (7 * MINUTE) == 0 else "",
            0.125,
            200,
            Phases(0.001, 0.002, None, 0.1, 0.02),
            {"hit_ratio": 0.5} if check else {},
        )
        for at in range(T0, T0 + hours * HOUR, MINUTE)
        for check in range(checks)
    ]


def test_csv_holds_every_result_in_order(engine: Engine, tmp_path: Path) -> None:
    results = make(3)
    ResultWriter(engine).save(results)
    assert export_results(engine, tmp_path / "out.csv", "csv", None, T0 + 9 * HOUR, progress=silent) == len(results)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["check"] for row in rows] == [one.check_id for one in results]
    assert rows[0]["slot"] == "2026-03-01T00:00:00.000Z"
    assert rows[0]["message"] == results[0].message
    assert (rows[1]["tls_s"], rows[1]["ttfb_s"], json.loads(rows[1]["metrics"])) == ("", "0.1", {"hit_ratio": 0.5})


def test_parquet_is_read_by_pandas(sqlite_engine: Engine, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    results = make(3)
    ResultWriter(sqlite_engine).save(results)
    export_results(sqlite_engine, tmp_path / "o.parquet", "parquet", T0 + HOUR, T0 + 2 * HOUR, progress=silent)
    frame = pandas.read_parquet(tmp_path / "o.parquet")
    wanted = [one for one in results if T0 + HOUR <= one.slot_ms < T0 + 2 * HOUR]
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["check"]) == [one.check_id for one in wanted]
    assert str(frame["slot"].dtype) == "datetime64[ms, UTC]"
    assert frame["duration_s"].tolist() == [0.125] * len(wanted)
    assert frame["tls_s"].isna().all()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_empty_store_gives_an_empty_file(sqlite_engine: Engine, tmp_path: Path, form: str) -> None:
    assert export_results(sqlite_engine, tmp_path / "o", form, None, T0, progress=silent) == 0  # type: ignore[arg-type]
    assert (tmp_path / "o").stat().st_size


def test_what_exists_is_not_overwritten(sqlite_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "o").write_text("mine")
    with pytest.raises(ExportError, match="exists"):
        export_results(sqlite_engine, tmp_path / "o", "csv", None, T0, progress=silent)
    assert (tmp_path / "o").read_text() == "mine"


def test_a_break_leaves_no_half_file(sqlite_engine: Engine, tmp_path: Path) -> None:
    ResultWriter(sqlite_engine).save(make(2))

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_results(sqlite_engine, tmp_path / "o", "csv", None, T0 + 9 * HOUR, progress=stop)
    assert not [*tmp_path.glob("o"), *tmp_path.glob(".o*")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_results(sqlite_engine: Engine, tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow.parquet")
    writer = ResultWriter(sqlite_engine)
    results = make(24, checks=10)
    for start in range(0, len(results), 5000):
        writer.save(results[start : start + 5000])
    peaks = []
    for number, hours in enumerate((2, 2, 24)):
        tracemalloc.start()
        to_ms = T0 + hours * HOUR
        export_results(sqlite_engine, tmp_path / f"o{number}", form, None, to_ms, progress=silent)  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.7 * peaks[1]


@pytest.mark.parametrize("full", [False, True])
def test_vacuum_gives_the_room_back(sqlite_engine: Engine, full: bool) -> None:
    ResultWriter(sqlite_engine).save(make(30, checks=20))
    with writing(sqlite_engine) as connection:
        connection.execute(delete(hot))
    done = vacuum(sqlite_engine, full=full, progress=silent)
    assert done.after_bytes < done.before_bytes / 3
    assert done.warning == ""
    assert ResultWriter(sqlite_engine).save(make(1)) == 180


def test_a_full_vacuum_is_refused_before_it_fills_the_disk(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100, 99, 1))
    with pytest.raises(StoreError, match="without --full"):
        vacuum(sqlite_engine, full=True, progress=silent)


def test_vacuum_runs_on_a_server(postgresql_url: str) -> None:
    upgrade(postgresql_url)
    engine = open_database(postgresql_url)
    ResultWriter(engine).save(make(1))
    for full in (False, True):
        vacuum(engine, full=full, progress=silent)
    engine.dispose()


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    db = {command.name: command for command in commands}["db"]
    Path("backwatch.yaml").write_text(
        "sites: {shop: {targets: {t0: {tier: app, checks: [{kind: tcp, url: 'tcp://h:1'}]}}}}\n"
    )

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(db, words, obj=load_all)
        return result.exit_code, result.output

    assert run("export", "o.csv")[0] == 2
    url = load_all(Path("backwatch.yaml"))[0].database
    upgrade(url)
    engine = open_database(url)
    ResultWriter(engine).save(make(2))
    engine.dispose()
    code, said = run("export", "o.csv", "--from", "2026-03-01T01:00", "--to", "2026-03-01T02:00")
    assert (code, said.startswith("o.csv: 180 results")) == (0, True), said
    assert run("export", "o.parquet")[0] == 0
    assert "say --parquet or --csv" in run("export", "o.dat")[1]
    assert "is no time" in run("export", "x.csv", "--from", "yesterday")[1]
    assert "lies before" in run("export", "x.csv", "--from", "2026-03-02", "--to", "2026-03-01")[1]
    code, said = run("vacuum")
    assert (code, "MB →" in said) == (0, True)


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert read_time("2026-03-01") == T0
    assert read_time("2026-03-01T02:00+01:00") == T0 + HOUR
