"""The check step on small DuckDB files: each planted fault is found, with its keys and money."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from fixtures.checked_warehouse import AS_OF, SCHEMA, Warehouse

from orchestration.warehouse.check_scope import Scope
from orchestration.warehouse.expectation_suites import BuiltIn, Check, Suite
from orchestration.warehouse.expectations import (
    CheckResult,
    ChecksNotRunError,
    pass_by_sql,
    run_expectations,
    teach_duckdb,
)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse.duckdb")


def failed(results: dict[str, CheckResult]) -> list[str]:
    return [result.check for result in results.values() if not result.passed]


def test_clean_warehouse_passes_every_check(warehouse: Warehouse) -> None:
    results = warehouse.check()

    assert failed(results) == []
    assert len(results) == 14
    for result in results.values():
        assert (result.failing_rows, result.amount_at_stake, result.failing_keys) == (0, None, [])


def test_empty_warehouse_passes_every_check(tmp_path: Path) -> None:
    path = tmp_path / "empty.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(SCHEMA)

    results = run_expectations(database=path, docs_folder=tmp_path / "docs", as_of=AS_OF)

    assert [result.check for result in results if not result.passed] == []


def test_repeated_request_id_is_found_with_the_money_of_all_but_the_first(
    warehouse: Warehouse,
) -> None:
    # A collision that counts in the totals, and a marked duplicate that does not.
    warehouse.add_usage(request_id="chatcmpl-1", occurrence=2, billed_cost=Decimal("0.34"))
    warehouse.add_usage(
        request_id="chatcmpl-2",
        occurrence=2,
        gateway_cost=Decimal("0.000000000000000001"),
        billed_cost=Decimal(0),
        duplicate_of="litellm/chatcmpl-2/1",
    )
    warehouse.add_usage(gateway="kong", request_id="chatcmpl-3")

    result = warehouse.check()["request ids are unique"]

    assert not result.passed
    assert result.severity == "warning"
    assert result.table == "marts.usage_records"
    assert result.failing_rows == 2
    assert result.failing_keys == ["litellm/chatcmpl-1", "litellm/chatcmpl-2"]
    assert result.amount_at_stake == Decimal("0.340000000000000001")


def test_each_later_record_counts_once_and_parts_of_one_batch_do_not(
    warehouse: Warehouse,
) -> None:
    for occurrence in range(2, 12):
        warehouse.add_usage(request_id="chatcmpl-1", occurrence=occurrence)
    for occurrence in (1, 2):
        warehouse.add_usage(
            request_id="batch", occurrence=occurrence, defect_codes="batch_of_several_models"
        )
        warehouse.add_usage(
            request_id="batch",
            occurrence=occurrence + 2,
            defect_codes="batch_of_several_models",
            duplicate_of=f"litellm/batch/{occurrence}",
        )

    result = warehouse.check()["request ids are unique"]

    assert result.failing_rows == 12
    assert result.failing_keys == ["litellm/chatcmpl-1", "litellm/batch"]
    assert result.amount_at_stake == 10 * Decimal("0.12") + 2 * Decimal("0.10")


def test_missing_usage_record_is_found_with_subject_and_amount(warehouse: Warehouse) -> None:
    warehouse.add_missing(subject_id="app/req-77", amount_at_stake=Decimal("1.25"))
    warehouse.add_missing(subject_id="litellm/2026-10-30/gpt-5", amount_at_stake=None)
    warehouse.add_missing(subject_id="a wallet", exception_type="low_balance")

    result = warehouse.check()["no usage record is missing"]

    assert (result.severity, result.failing_rows) == ("warning", 2)
    assert result.failing_keys == ["app/req-77", "litellm/2026-10-30/gpt-5"]
    assert result.amount_at_stake == Decimal("1.25")


def test_tokens_that_an_application_counted_otherwise_are_found(warehouse: Warehouse) -> None:
    request = {"gateway": "litellm", "side": "app", "usage_date": date(2026, 10, 31)}
    request |= {"currency": "USD", "cost_delta": Decimal("-0.25")}
    warehouse.add("request_reconciliation", **request, request_id="a", match_status="matched")
    warehouse.add(
        "request_reconciliation", **request, request_id="b", match_status="token_mismatch"
    )

    result = warehouse.check()["applications and gateways counted the same tokens"]

    assert (result.severity, result.failing_keys) == ("warning", ["litellm/b (app)"])
    assert result.amount_at_stake == Decimal("0.25")


def test_unexplained_days_and_lines_are_found_with_what_is_left(warehouse: Warehouse) -> None:
    day = {"provider_date": date(2026, 10, 30), "provider_account_id": "p", "currency": "USD"}
    left = Decimal("-0.5")
    warehouse.add("provider_reconciliation", **day, unexplained_amount=left, is_final=False)
    warehouse.add("provider_reconciliation", **day, unexplained_amount=left, is_final=True)
    line = {"vendor": "v", "invoice_number": "i", "currency": "USD", "amount_invoiced": 7}
    warehouse.add("invoice_reconciliation", **line, line_no=1, status="explained")
    unexplained = {"status": "unexplained", "variance_amount": 3, "unexplained_amount": 2}
    warehouse.add("invoice_reconciliation", **line, line_no=2, **unexplained, markup_amount=1)
    warehouse.add("invoice_reconciliation", **line, line_no=3, status="unmapped")

    results = warehouse.check()

    days = results["final provider days have no unexplained difference"]
    assert (days.failing_keys, days.amount_at_stake) == (["p/2026-10-30"], Decimal("0.5"))
    lines = results["every invoice line is explained"]
    assert (lines.failing_keys, lines.amount_at_stake) == (["v/i/3", "v/i/2"], Decimal(9))
    assert results["the causes of a line add up to its variance"].passed


def test_a_cent_in_no_cause_is_a_hard_failure(warehouse: Warehouse) -> None:
    line = {"vendor": "v", "invoice_number": "i", "line_no": 1, "currency": "USD"}
    line |= {"variance_amount": Decimal("3.01"), "tax_amount": 1, "unexplained_amount": 2}
    warehouse.add("invoice_reconciliation", **line)

    result = warehouse.check()["the causes of a line add up to its variance"]

    assert (result.severity, result.passed) == ("hard", False)
    assert (result.failing_keys, result.amount_at_stake) == (["v/i/1"], Decimal("0.01"))


def test_a_wrong_debit_is_found_with_its_window(warehouse: Warehouse) -> None:
    for hour, difference in ((1, Decimal(0)), (2, Decimal("-0.75")), (3, None)):
        warehouse.add(
            "wallet_reconciliation",
            wallet_id="w",
            window_from_at=datetime(2026, 10, 31, hour),  # noqa: DTZ001  # DuckDB TIMESTAMP
            currency="USD",
            difference_amount=difference,
        )

    result = warehouse.check()["wallets were debited what was used"]

    assert result.failing_keys == ["w/2026-10-31 02:00:00"]
    assert result.amount_at_stake == Decimal("0.75")


def test_calls_the_gateway_counted_and_did_not_log_are_found_with_their_key(
    warehouse: Warehouse,
) -> None:
    for key, status, difference in (
        ("k-1", "missing_usage", Decimal("0.75")),
        # Only calls that cost nothing are missing.
        (None, "missing_usage", Decimal("-0.01")),
        ("k-2", "missing_count", Decimal(-3)),
        ("k-3", "pending", Decimal(9)),
        ("k-4", "matched", Decimal(0)),
    ):
        warehouse.add(
            "gateway_reconciliation",
            gateway="litellm",
            usage_date=date(2026, 10, 31),
            api_key_id=key,
            currency="USD",
            difference_amount=difference,
            status=status,
        )

    result = warehouse.check()["gateway logs hold what the gateway counted"]

    assert (result.severity, result.failing_rows) == ("warning", 2)
    assert result.failing_keys == ["litellm/2026-10-31/k-1", "litellm/2026-10-31/no key"]
    assert result.amount_at_stake == Decimal("0.75")


def test_unpriced_usage_is_found_with_the_gateways_own_charge(warehouse: Warehouse) -> None:
    unpriced = {"cost_status": "unpriced", "list_cost": None, "billed_cost": None}
    warehouse.add_usage(request_id="u-1", gateway_cost=Decimal("2.5"), **unpriced)
    warehouse.add_usage(request_id="u-2", gateway_cost=Decimal(0), **unpriced)
    warehouse.add_usage(request_id="u-1", occurrence=2, duplicate_of="litellm/u-1/1", **unpriced)

    results = warehouse.check()

    assert failed(results) == ["request ids are unique", "every usage is priced"]
    result = results["every usage is priced"]
    assert (result.severity, result.failing_rows) == ("warning", 2)
    assert result.failing_keys == ["litellm/u-1", "litellm/u-2"]
    assert result.amount_at_stake == Decimal("2.5")


def test_file_that_does_not_add_up_is_a_hard_failure_without_an_amount(
    warehouse: Warehouse,
) -> None:
    warehouse.add_batch(file_name="lost.jsonl", rows_in=10, rows_loaded=9)
    warehouse.add_batch(file_name="grown.jsonl", rows_in=None, rows_loaded=5)

    results = warehouse.check()

    assert failed(results) == ["every file adds up"]
    result = results["every file adds up"]
    assert (result.severity, result.table) == ("hard", "audit.load_batches")
    assert (result.failing_rows, result.amount_at_stake) == (2, None)
    assert result.failing_keys == ["files/grown.jsonl", "files/lost.jsonl"]


@pytest.mark.parametrize(
    ("values", "check", "amount"),
    [
        ({"list_cost": Decimal(-1)}, "money columns are never negative", "1"),
        (
            {"list_cost": Decimal(-1), "billed_cost": Decimal(-3)},
            "money columns are never negative",
            "3",
        ),
        ({"cost_status": "cheap"}, "cost_status is one of the known states", "0.12"),
        ({"cost_status": None}, "cost_status is one of the known states", "0.12"),
        ({"list_cost": None}, "a cost is known exactly when cost_status says so", "0.12"),
        (
            {"cost_status": "quantity_unknown"},
            "a cost is known exactly when cost_status says so",
            "0.12",
        ),
    ],
)
def test_contradiction_in_a_record_is_a_hard_failure(
    warehouse: Warehouse, values: dict[str, object], check: str, amount: str
) -> None:
    warehouse.add_usage(request_id="odd", **values)

    results = warehouse.check()

    assert failed(results) == [check]
    assert results[check].severity == "hard"
    assert results[check].failing_rows == 1
    assert results[check].failing_keys == ["litellm/odd"]
    assert results[check].amount_at_stake == Decimal(amount)


def test_usage_is_in_the_future_from_a_day_after_the_runs_clock(warehouse: Warehouse) -> None:
    on_the_edge = datetime(2026, 11, 2, 6, 0)  # noqa: DTZ001
    warehouse.add_usage(request_id="edge", started_at=on_the_edge)
    warehouse.add_usage(request_id="ahead", started_at=on_the_edge.replace(microsecond=1))

    results = warehouse.check()

    assert failed(results) == ["no usage is dated in the future"]
    result = results["no usage is dated in the future"]
    assert (result.severity, result.failing_keys) == ("warning", ["litellm/ahead"])
    assert result.amount_at_stake == Decimal("0.12")


def test_amounts_of_two_currencies_are_never_added(warehouse: Warehouse) -> None:
    warehouse.add_missing(subject_id="a", amount_at_stake=Decimal(1))
    warehouse.add_missing(subject_id="b", amount_at_stake=Decimal(2), currency="EUR")

    result = warehouse.check()["no usage record is missing"]

    assert result.amount_at_stake is None
    assert result.amounts == {"EUR": Decimal(2), "USD": Decimal(1)}


def test_result_names_the_twenty_keys_with_most_money_and_counts_the_rest(
    warehouse: Warehouse,
) -> None:
    for number in range(25):
        warehouse.add_missing(subject_id=f"app/{number:02}", amount_at_stake=Decimal(number))

    result = warehouse.check()["no usage record is missing"]

    assert result.failing_rows == 25
    assert result.failing_keys == [f"app/{number:02}" for number in range(24, 4, -1)]
    assert result.amount_at_stake == Decimal(300)


def test_page_shows_failing_keys_and_money_and_nothing_from_elsewhere(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.add_usage(
        request_id="chatcmpl-1", occurrence=2, billed_cost=Decimal("1234.000000000000000001")
    )
    warehouse.add_usage(request_id="<script>alert(1)</script>", cost_status="cheap")
    warehouse.add_missing(subject_id="<img src=x>", amount_at_stake=Decimal(7))
    docs = tmp_path / "pages" / "checks"

    warehouse.check(docs)

    page = (docs / "index.html").read_text(encoding="utf-8")
    assert "litellm/chatcmpl-1" in page
    assert "1,234.000000000000000001 USD" in page
    assert "litellm/&lt;script>alert(1)" in page
    assert "&lt;img src=x&gt;" in page
    assert "<script" not in page
    assert "<img" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert sorted(path.name for path in docs.iterdir()) == ["index.html", "sections.json"]
    # What is kept for later pages is of checks that pass, and names nobody's records.
    kept = (docs / "sections.json").read_text(encoding="utf-8")
    assert "every file adds up" in kept
    assert "request ids are unique" not in json.loads(kept)["sections"]
    assert "chatcmpl" not in kept


def test_page_is_the_same_bytes_for_the_same_warehouse_and_replaces_the_last(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.add_missing(subject_id="app/req-77", amount_at_stake=Decimal("1.25"))
    page = tmp_path / "docs" / "index.html"

    warehouse.check()
    first = page.read_bytes()
    warehouse.check()

    assert page.read_bytes() == first


def run_of_days(
    warehouse: Warehouse, docs: Path, *days: str, as_of: datetime = AS_OF
) -> tuple[list[CheckResult], list[str]]:
    """The results for some days as a check step gets them, and what it says."""
    lines: list[str] = []
    asking = {"docs_folder": docs, "as_of": as_of, "progress": lines.append}
    scope = Scope(days=days)
    with duckdb.connect(str(warehouse.path)) as connection:
        passed = pass_by_sql(connection, scope=scope, **asking)
    if passed is None:
        passed = run_expectations(database=warehouse.path, scope=scope, **asking)
    return passed, lines


_LOADING, _NOT_ASKED = "checks: loading Great Expectations", "checks: no row fails"


def test_days_on_which_nothing_fails_get_their_page_without_great_expectations(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.add_usage(request_id="a day later", usage_date=date(2026, 11, 1))
    later = AS_OF + timedelta(hours=1)

    first, asked = run_of_days(warehouse, tmp_path / "kept", "2026-10-31")
    second, not_asked = run_of_days(warehouse, tmp_path / "kept", "2026-11-01", as_of=later)
    same, asked_anew = run_of_days(warehouse, tmp_path / "new", "2026-11-01", as_of=later)

    assert (asked[0], asked_anew[0]) == (_LOADING, _LOADING)
    assert not_asked[0].startswith(_NOT_ASKED)
    assert first == second == same
    page = (tmp_path / "kept" / "index.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    assert "2026-11-01" in page


def test_a_failing_row_or_a_lost_section_asks_great_expectations_again(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    run_of_days(warehouse, tmp_path, "2026-10-31")
    (tmp_path / "sections.json").write_text("torn", encoding="utf-8")
    assert run_of_days(warehouse, tmp_path, "2026-10-31")[1][0] == _LOADING
    assert run_of_days(warehouse, tmp_path, "2026-10-31")[1][0].startswith(_NOT_ASKED)

    warehouse.add_usage(request_id="unpriced", cost_status="unpriced", list_cost=None)

    results, lines = run_of_days(warehouse, tmp_path, "2026-10-31")
    assert lines[0] == _LOADING
    assert [each.check for each in results if not each.passed] == ["every usage is priced"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "litellm/unpriced" in page


def test_file_can_be_written_again_right_after_the_checks(warehouse: Warehouse) -> None:
    warehouse.check()

    warehouse.add_usage(request_id="next")


def test_a_path_with_special_characters_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20 $HOME #1 é"
    folder.mkdir()

    assert failed(Warehouse(folder / "ware house.duckdb").check()) == []


def test_table_that_is_not_there_is_an_error_and_not_a_passed_check(warehouse: Warehouse) -> None:
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("drop table marts.exceptions")

    with pytest.raises(ChecksNotRunError, match="exceptions"):
        warehouse.check()
    warehouse.add_usage(request_id="the file is free again")


def test_column_that_is_not_there_is_an_error_and_not_a_passed_check(warehouse: Warehouse) -> None:
    with duckdb.connect(str(warehouse.path)) as connection:
        connection.execute("alter table marts.usage_records drop column cost_status")

    with pytest.raises(ChecksNotRunError, match="cost_status"):
        warehouse.check()


def test_database_that_is_not_there_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "absent.duckdb"

    with pytest.raises(ChecksNotRunError, match=r"absent\.duckdb"):
        run_expectations(database=path, docs_folder=tmp_path / "docs", as_of=AS_OF)

    assert not path.exists()


@pytest.mark.parametrize(("floor", "failing"), [(0, "list_cost > 0"), (1, "list_cost < 0")])
def test_built_in_that_disagrees_with_its_own_query_is_an_error(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, floor: int, failing: str
) -> None:
    built_in = BuiltIn(
        type="expect_column_values_to_be_between",
        kwargs={"column": "occurrence", "min_value": floor + 1},
        says="",
    )
    check = Check(
        name="odd", severity="hard", meaning="", failing=f"where {failing}", built_ins=(built_in,)
    )
    suite = Suite(
        table="marts.usage_records", key="request_id", currency="currency", checks=(check,)
    )
    monkeypatch.setattr("orchestration.warehouse.expectations.suites", lambda **_: (suite,))

    with pytest.raises(ChecksNotRunError, match="contradicts itself"):
        warehouse.check()


def test_progress_is_reported_before_each_step(warehouse: Warehouse, tmp_path: Path) -> None:
    lines: list[str] = []

    run_expectations(
        database=warehouse.path, docs_folder=tmp_path, as_of=AS_OF, progress=lines.append
    )

    assert lines == [
        "checks: loading Great Expectations",
        "checks: marts.usage_records",
        "checks: marts.exceptions",
        "checks: marts.request_reconciliation",
        "checks: marts.gateway_reconciliation",
        "checks: marts.provider_reconciliation",
        "checks: marts.invoice_reconciliation",
        "checks: marts.wallet_reconciliation",
        "checks: audit.load_batches",
        "checks: writing Data Docs",
    ]


def test_run_is_quiet_and_leaves_nothing_outside_the_docs_folder(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.add_missing(subject_id="app/req-77", amount_at_stake=Decimal("1.25"))
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys, pathlib, datetime\n"
        "import orchestration.warehouse.expectations as checks\n"
        "assert 'great_expectations' not in sys.modules, 'imported too early'\n"
        f"checks.run_expectations(database=pathlib.Path({str(warehouse.path)!r}),"
        f" docs_folder=pathlib.Path({str(tmp_path / 'docs')!r}),"
        " as_of=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC))\n"
        "assert 'posthog' not in sys.modules, 'telemetry'\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={"HOME": str(home), "TMPDIR": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


def test_great_expectations_cannot_read_duckdb_without_the_adapter(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.warehouse.expectations.teach_duckdb", lambda: None)
    from great_expectations.execution_engine import sqlalchemy_execution_engine as engine

    untaught = tuple(
        name for name in engine._PERSISTED_CONNECTION_DIALECTS if name.value != "duckdb"
    )
    monkeypatch.setattr(engine, "_PERSISTED_CONNECTION_DIALECTS", untaught)

    with pytest.raises(ChecksNotRunError, match="could not be checked"):
        warehouse.check()


def test_adapter_adds_itself_once_and_says_so_when_it_no_longer_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from great_expectations.execution_engine import sqlalchemy_execution_engine as engine

    teach_duckdb()
    teach_duckdb()
    names = [name.value for name in engine._PERSISTED_CONNECTION_DIALECTS]
    assert names.count("duckdb") == 1

    monkeypatch.delattr(engine, "_PERSISTED_CONNECTION_DIALECTS")
    with pytest.raises(ChecksNotRunError, match="_PERSISTED_CONNECTION_DIALECTS"):
        teach_duckdb()
