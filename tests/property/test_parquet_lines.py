"""Amounts of Parquet files: a double is read by the very digits the strict reader takes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.config import LimitSettings, SourceSettings
from orchestration.landing.files import LandedFile
from orchestration.warehouse.parquet_lines import read_parquet_blocks, typed_columns

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doubles") / "log.parquet"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FINITE, min_size=1, max_size=200))
def test_a_double_is_written_with_its_shortest_digits(path: Path, doubles: list[float]) -> None:
    pq.write_table(pa.table({"spend": pa.array(doubles, pa.float64())}), path)

    columns = typed_columns(landed(path))
    (block,) = read_parquet_blocks(landed(path), LimitSettings())

    assert columns is not None
    spend = columns["spend"]
    assert spend is not None
    with duckdb.connect() as connection:
        connection.register("rows", pa.Table.from_batches([block.lines]))
        texts = connection.sql(f"select {spend.text} from rows").fetchall()
    assert [Decimal(text) for (text,) in texts] == [Decimal(repr(value)) for value in doubles]


def landed(path: Path) -> LandedFile:
    source = SourceSettings(name="a", kind="litellm_spend_logs")
    size = path.stat().st_size
    return LandedFile(path, "a/log.parquet", source, source.file_kinds, size, 0)
