"""Runs `join.sql` on DuckDB or Spark over the files of `foryou export`; one Parquet file comes out.

The SQL is the same text for both. DuckDB runs in this process and spills to disk beyond its memory;
Spark runs here as a local cluster of a few threads, and with a deployment's own session as large as
that is. Both leave rows in the order of the file, so that equal logs make equal files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix.data.export import DIRECTORIES, part_files
from phoenix.data.join import ATTRIBUTION_WINDOW_MS, END_OF_TIME_MS
from phoenix.data.parquet import write_batches
from service_kit.action_list import MODEL_ACTIONS

EVERYTHING_MS = -1  # no `after_ms`: what has not closed yet is there, too
ENGINES = ("duckdb", "spark")
BATCH_ROWS = 100_000
SPARK_THREADS = 2
SPARK_PARTITIONS = 4  # Spark's 200 are for clusters; here each costs a task's start
JAVA_HOW_TO = (
    "Spark needs Java 17 or newer: install a JDK (apt install openjdk-17-jre-headless) and put "
    "`java` on the PATH or name it by JAVA_HOME, or use --engine duckdb"
)


class EngineMissingError(RuntimeError):
    """What the engine needs is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """The one row that the SQL reads its parameters from."""

    until_ms: int = END_OF_TIME_MS
    after_ms: int = EVERYTHING_MS
    attribution_window_ms: int = ATTRIBUTION_WINDOW_MS

    def __post_init__(self) -> None:
        if not self.after_ms < self.until_ms <= END_OF_TIME_MS:
            raise ValueError(
                f"joined is what closed after {self.after_ms} and up to {self.until_ms}: the "
                "second must be the greater one"
            )
        if self.attribution_window_ms <= 0:
            raise ValueError(f"attribution window of {self.attribution_window_ms} ms: expected > 0")

    def row(self) -> str:
        """A SELECT of the row."""
        values = {
            "attribution_window_ms": self.attribution_window_ms,
            "until_ms": self.until_ms,
            "after_ms": self.after_ms,
        }
        return "SELECT " + ", ".join(f"CAST({v} AS BIGINT) AS {n}" for n, v in values.items())


def join_sql() -> str:
    """The text of `join.sql`."""
    return (files("phoenix.data") / "join.sql").read_text(encoding="utf-8")


def join_events(
    events: Path, out: Path, settings: JoinSettings | None = None, engine: str = "duckdb"
) -> int:
    """Join the export in `events` into the Parquet file `out`; returns its number of rows.

    ValueError for an unknown engine or a directory that is no export; EngineMissingError says how
    to install what is missing.
    """
    run = {"duckdb": join_with_duckdb, "spark": join_with_spark}.get(engine)
    if run is None:
        raise ValueError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    tables = event_files(events)
    out.parent.mkdir(parents=True, exist_ok=True)
    return run(tables, out, settings or JoinSettings())


def event_files(events: Path) -> dict[str, list[str]]:
    """The parts of each table of the SQL."""
    return {
        name: [str(part) for part in part_files(events, topic)]
        for topic, name in DIRECTORIES.items()
    }


def join_with_duckdb(tables: Mapping[str, Sequence[str]], out: Path, settings: JoinSettings) -> int:
    """In this process."""
    try:
        import duckdb
    except ImportError as error:
        raise EngineMissingError(
            "DuckDB is not installed: uv sync --extra training, or pip install 'foryou[training]'"
        ) from error
    with (
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".join-") as spill,
        duckdb.connect(config={"temp_directory": spill}) as connection,
    ):
        for name, paths in tables.items():
            listed = ", ".join(f"'{_quoted(path)}'" for path in paths)
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}])")
        connection.execute(f"CREATE VIEW settings AS {settings.row()}")
        reader = connection.sql(join_sql()).to_arrow_reader(BATCH_ROWS)
        return write_batches(reader, MODEL_ACTIONS, out)


def join_with_spark(
    tables: Mapping[str, Sequence[str]], out: Path, settings: JoinSettings, session: Any = None
) -> int:
    """In `session`, or in a local one that is stopped afterwards."""
    if session is not None:
        return _join_in(session, tables, out, settings)
    with local_spark() as started:
        return _join_in(started, tables, out, settings)


@contextmanager
def local_spark(threads: int = SPARK_THREADS) -> Iterator[Any]:
    """A Spark on this machine alone: no page of its own, no port but on 127.0.0.1.

    EngineMissingError without pyspark or Java.
    """
    build = _session_builder()
    with tempfile.TemporaryDirectory(prefix="foryou-spark-") as scratch:
        options = {
            "spark.master": f"local[{threads}]",
            "spark.app.name": "foryou join",
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(SPARK_PARTITIONS),
            "spark.local.dir": scratch,
            "spark.sql.warehouse.dir": str(Path(scratch) / "warehouse"),
            "spark.log.level": "ERROR",
        }
        for name, value in options.items():
            build = build.config(name, value)
        with warnings.catch_warnings():
            # Spark's launcher forks and at once becomes Java: what JAX warns of cannot happen.
            warnings.filterwarnings(
                "ignore", message=r"os.fork\(\) was called", category=RuntimeWarning
            )
            session = build.getOrCreate()
        try:
            yield session
        finally:
            session.stop()


def _session_builder() -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EngineMissingError(
            "Spark is not installed: uv sync --extra spark, or pip install 'foryou[spark]'"
        ) from error
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin" / "java").exists()):
        raise EngineMissingError(JAVA_HOW_TO)
    return SparkSession.builder


def _join_in(
    session: Any, tables: Mapping[str, Sequence[str]], out: Path, settings: JoinSettings
) -> int:
    # The recursion is one level a window of one viewer and post: a day has 288 of them.
    session.conf.set("spark.sql.cteRecursionLevelLimit", "-1")
    session.conf.set("spark.sql.cteRecursionRowLimit", "-1")
    for name, paths in tables.items():
        session.read.parquet(
            *(Path(path).absolute().as_uri() for path in paths)
        ).createOrReplaceTempView(name)
    session.sql(settings.row()).createOrReplaceTempView("settings")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".join-") as scratch:
        parts = Path(scratch).absolute() / "parts"
        session.sql(join_sql()).write.parquet(parts.as_uri())
        return write_batches(_batches(sorted(parts.glob("part-*"))), MODEL_ACTIONS, out)


def _batches(parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            yield from file.iter_batches(BATCH_ROWS)


def _quoted(path: str) -> str:
    return path.replace("'", "''")
