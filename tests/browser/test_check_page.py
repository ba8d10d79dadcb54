"""The page of the checks, opened as a person opens it: in a browser, from the file system."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.warehouse.expectations import run_expectations

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET_BROWSER = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The check page of a warehouse in which one request id was logged twice."""
    folder = tmp_path_factory.mktemp("checks")
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("""
            create schema marts;
            create schema audit;
            create table marts.usage_records as
            select
                'litellm' as gateway, 'call-<b>7</b>' as request_id, occurrence,
                timestamp '2026-10-31 12:00:00' as started_at, date '2026-10-31' as usage_date,
                'openai' as provider, 'gpt-5' as model, 'success' as status,
                cast(0.25 as decimal(38, 18)) as gateway_cost,
                cast(0.25 as decimal(38, 18)) as list_cost,
                cast(0.25 as decimal(38, 18)) as billed_cost,
                'USD' as currency, 'priced' as cost_status,
                case when occurrence = 2 then 'litellm/call-<b>7</b>/1' end as duplicate_of,
                '' as defect_codes
            from (values (1), (2)) as t (occurrence);
            create table marts.exceptions (
                exception_type varchar, amount_at_stake decimal(38, 18), currency varchar,
                account_id varchar, billing_month varchar, subject_type varchar,
                subject_id varchar, evidence varchar
            );
            create table audit.load_batches (
                load_batch_id varchar, source varchar, file_name varchar, status varchar,
                rows_in bigint,
                rows_loaded bigint,
                rows_already_known bigint, rows_quarantined bigint
            );
            """)
    results = run_expectations(
        database=folder / "warehouse.duckdb",
        docs_folder=folder / "docs",
        as_of=datetime(2026, 11, 1, tzinfo=UTC),
    )
    assert [r.amount_at_stake for r in results if not r.passed] == [Decimal("0.25")]
    return folder / "docs" / "index.html"


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open the page and answer with what the browser prints."""
    profile = page.parent.parent / f"profile-{len(options)}"
    command = [str(CHROMIUM), *QUIET_BROWSER, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_page_names_the_failing_key_and_its_money(page: Path) -> None:
    shown = browse(page, "--dump-dom").stdout

    assert "request ids are unique" in shown
    assert "litellm/call-&lt;b&gt;7&lt;/b&gt;" in shown
    assert "0.25 USD" in shown


def test_the_page_is_drawn_without_a_network(page: Path) -> None:
    picture = page.parent / "page.png"

    printed = browse(page, f"--screenshot={picture}", "--host-resolver-rules=MAP * ~NOTFOUND")

    # A blank page of this size is a few kilobytes; text and badges make it tens.
    assert picture.stat().st_size > 20_000
    assert "http" not in page.read_text(encoding="utf-8").replace("http-equiv", "")
    assert "ERR_" not in printed.stderr
