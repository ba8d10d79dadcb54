"""Great Expectations inside DuckDB: run the suites, measure what fails, write Data Docs.

Great Expectations takes three seconds of CPU to import. Where only some days are in question, SQL
looks first: checks that find no row there keep the section that Great Expectations last drew of
them, and it is asked where a row fails or a section is missing. An audit always asks it.
"""

from __future__ import annotations

import atexit
import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.warehouse.check_scope import (
    EVERYTHING,
    DayFinding,
    Remembered,
    Scope,
    in_days,
)
from orchestration.warehouse.expectation_suites import BuiltIn, Check, Severity, Suite, suites

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context.data_context.abstract_data_context import (
        AbstractDataContext,
    )
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.components import CollapseContent, RenderedTableContent
    from sqlalchemy.engine import Connection

# Failing rows that a result names and Data Docs show, those with most money at stake first.
ROWS_SHOWN = 20
_MONEY_TEXT = re.compile(r"-?[0-9]+\.[0-9]{18}\Z")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        check: Name of the check; unique.
        table: `schema.table` that was judged.
        severity: `hard` stops a publish, `warning` does not.
        passed: Whether no row failed.
        failing_rows: Number of rows that fail.
        amount_at_stake: Exact sum over the failing rows whose amount is known. None when no
            amount is known, or when the amounts are in several currencies: see `amounts`.
        failing_keys: At most ROWS_SHOWN distinct keys of failing rows, such as
            `litellm/chatcmpl-1`, those with most money at stake first.
        description: What a failing row means, in plain words.
        amounts: The same exact sum per currency.
        by_day: What the rows in question gave, by day and currency, where the table has days.
    """

    check: str
    table: str
    severity: Severity
    passed: bool
    failing_rows: int
    amount_at_stake: Decimal | None
    failing_keys: list[str]
    description: str
    amounts: dict[str, Decimal] = field(default_factory=dict)
    by_day: list[DayFinding] = field(default_factory=list)


class ChecksNotRunError(RuntimeError):
    """Raised when a check could not be answered; says nothing about the data."""


def run_expectations(
    *,
    database: Path,
    docs_folder: Path,
    as_of: datetime,
    progress: Callable[[str], None] | None = None,
    scope: Scope = EVERYTHING,
    remembered: Remembered | None = None,
) -> list[CheckResult]:
    """Run every suite on the DuckDB file and write `docs_folder/index.html`.

    The file is opened read-only and closed again. The page is one self-contained file, the
    same bytes for the same warehouse and `as_of`; it replaces the page of the run before.

    Args:
        database: The DuckDB file; this process must hold no other connection to it.
        docs_folder: Created if absent.
        as_of: The run's clock, UTC where it names no zone.
        progress: Called with one line before each step.
        scope: The days in question; tables without days are judged as a whole.
        remembered: What was found on all other days; results count it in.

    Returns:
        One result per check, in the order of the suites.

    Raises:
        ChecksNotRunError: A check could not be answered, or Great Expectations has changed
            where `teach_duckdb` reaches into it.
    """
    say = progress or (lambda _line: None)
    asked = suites(as_of=as_of, days=in_days("usage_date", scope.days))
    say("checks: loading Great Expectations")
    teach_duckdb()
    _let_duckdb_go_at_exit()
    findings: list[_Finding] = []
    with _open(database) as (context, source):
        for suite in asked:
            say(f"checks: {suite.table}")
            findings.extend(_run_suite(context, source, suite, remembered or {}))
    say("checks: writing Data Docs")
    results = [finding.result for finding in findings]
    sections = _draw_sections([finding.validations for finding in findings], results)
    _write_page(docs_folder, results, sections, as_of, scope)
    _keep_sections(docs_folder, asked, findings, sections)
    return results


def pass_by_sql(
    connection: duckdb.DuckDBPyConnection,
    *,
    docs_folder: Path,
    as_of: datetime,
    progress: Callable[[str], None] | None = None,
    scope: Scope,
    remembered: Remembered | None = None,
) -> list[CheckResult] | None:
    """What `run_expectations` would give and write, where Great Expectations need not be asked.

    Returns:
        None where it must be: in an audit, where a row fails, or where a section is missing.

    Raises:
        ChecksNotRunError: A table or column is missing.
    """
    asked = suites(as_of=as_of, days=in_days("usage_date", scope.days))
    sections = None if scope.days is None else _read_sections(docs_folder, asked)
    if sections is None or not nothing_fails(connection, asked):
        return None
    if progress:
        progress("checks: no row fails; writing Data Docs")
    known = remembered or {}
    results = [
        _result(suite, check, [], known.get(check.name, []))
        for suite in asked
        for check in suite.checks
    ]
    _write_page(docs_folder, results, sections, as_of, scope)
    return results


def nothing_fails(connection: duckdb.DuckDBPyConnection, asked: Sequence[Suite]) -> bool:
    """Whether no check finds a row, by its own condition; one scan of each table.

    Raises:
        ChecksNotRunError: A table or column is missing.
    """
    for suite in asked:
        for query in _failing_queries(suite):
            try:
                if connection.execute(query).fetchall():
                    return False
            except duckdb.Error as error:
                raise ChecksNotRunError(f"{suite.table} cannot be checked: {error}") from error
    return True


def _failing_queries(suite: Suite) -> list[str]:
    """Queries that return a row where a check fails; conditions of single rows share one."""
    conditions, others = [], []
    for check in suite.checks:
        condition = check.failing.removeprefix("where ")
        if "qualify" in condition or "select" in condition:
            others.append(f"select 1 from {suite.rows} {check.failing} limit 1")
        else:
            conditions.append(f"({condition})")
    if conditions:
        others.append(f"select 1 from {suite.rows} where {' or '.join(conditions)} limit 1")
    return others


def check_hard(
    connection: duckdb.DuckDBPyConnection, *, as_of: datetime, scope: Scope
) -> list[CheckResult]:
    """The hard checks of the suites by their own SQL, without Great Expectations and its page."""

    def ask(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    return [
        _result(suite, check, _measure(ask, suite, check))
        for suite in suites(as_of=as_of, days=in_days("usage_date", scope.days))
        for check in suite.checks
        if check.severity == "hard"
    ]


class _DialectName(str):
    """A dialect's name that also answers `.value`, as the members of GX's own enum do."""

    __slots__ = ()

    @property
    def value(self) -> str:
        return str(self)


def teach_duckdb() -> None:
    """Let Great Expectations keep its DuckDB connection open; calling it again does nothing.

    GX 1.24 closes a connection before it fetches the rows, except for the dialects of one
    private tuple. DuckDB's rows go with their connection, so every aggregate then fails with
    `IndexError: list index out of range`. The tuple is all that stands between GX and DuckDB.
    The enum of dialects cannot be extended, hence a text with a `value`.

    Raises:
        ChecksNotRunError: The tuple is not where GX 1.24 has it.
    """
    import great_expectations
    from great_expectations.execution_engine import sqlalchemy_execution_engine as engine

    dialects = getattr(engine, "_PERSISTED_CONNECTION_DIALECTS", None)
    if not isinstance(dialects, tuple) or not all(hasattr(name, "value") for name in dialects):
        raise ChecksNotRunError(
            f"Great Expectations {great_expectations.__version__} has no "
            "_PERSISTED_CONNECTION_DIALECTS as 1.24 has: it cannot run on DuckDB; install 1.24"
        )
    if "duckdb" not in [name.value for name in dialects]:
        engine._PERSISTED_CONNECTION_DIALECTS = (  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
            *dialects,
            _DialectName("duckdb"),
        )


@cache
def _let_duckdb_go_at_exit() -> None:
    """Keep standard error clean when the process ends.

    duckdb-engine hangs a function of its own on SQLAlchemy's TryCast, and with GX loaded
    SQLAlchemy outlives the interpreter. DuckDB's types then do so too, and its binding prints a
    hundred lines about leaks. Taking the function down at exit breaks that chain.
    """
    import duckdb_engine  # noqa: F401  # Hangs up its function.
    from sqlalchemy import TryCast

    dispatcher = vars(TryCast).get("_compiler_dispatcher")
    if dispatcher:
        atexit.register(dispatcher.specs.pop, "duckdb", None)


@contextmanager
def _open(database: Path) -> Iterator[tuple[AbstractDataContext, SQLDatasource]]:
    """A context that lives in memory and tells nobody, with the file as its data source.

    Raises:
        ChecksNotRunError: The file does not exist, or is open for writing.
    """
    import great_expectations as gx
    from great_expectations.data_context.types import base
    from great_expectations.datasource.fluent.interfaces import TestConnectionError
    from sqlalchemy import URL

    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    read_only = {"access_mode": "read_only"}
    url = URL.create("duckdb", database=str(database), query=read_only).render_as_string()
    try:
        source = context.data_sources.add_sql("warehouse", connection_string=url)
    except TestConnectionError as error:
        reason = getattr(error.__cause__, "orig", error)
        raise ChecksNotRunError(f"cannot read {database}: {reason}") from error
    try:
        yield context, source
    finally:
        # GX holds two pools and never closes them; the next writer would be refused.
        source.get_execution_engine().engine.dispose()
        source.get_engine().dispose()


@dataclass(frozen=True, slots=True)
class _Finding:
    """A result with the validation results that Great Expectations renders."""

    result: CheckResult
    validations: list[ExpectationValidationResult]


def _run_suite(
    context: AbstractDataContext, source: SQLDatasource, suite: Suite, remembered: Remembered
) -> list[_Finding]:
    """Validate one table; GX decides whether a check passed, SQL measures what failed."""
    import great_expectations as gx

    _raise_if_not_bound(source, suite)
    # GX puts cells into its pages as they are, so the key is made safe for HTML here.
    key = f"replace(replace({suite.key}, '&', '&amp;'), '<', '&lt;')"
    asset = source.add_query_asset(suite.table, f"select *, {key} as record from {suite.rows}")
    expectations = context.suites.add(gx.ExpectationSuite(name=suite.table))
    for check in suite.checks:
        for expectation in _expectations(suite, check):
            expectations.add_expectation(expectation)
    definition = gx.ValidationDefinition(
        name=suite.table,
        data=asset.add_batch_definition_whole_table("all rows"),
        suite=expectations,
    )
    outcome = definition.run(
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["record"],
            "partial_unexpected_count": ROWS_SHOWN,
            "return_unexpected_index_query": False,
        }
    )
    validations = defaultdict(list)
    for validation in outcome.results:
        config = validation.expectation_config
        validations[config.meta["check"] if config else None].append(validation)
    with source.get_execution_engine().get_connection() as connection:
        return [
            _Finding(
                _judge(
                    connection,
                    suite,
                    check,
                    validations[check.name],
                    remembered.get(check.name, []),
                ),
                validations[check.name],
            )
            for check in suite.checks
        ]


def _raise_if_not_bound(source: SQLDatasource, suite: Suite) -> None:
    """Raise where a table or a column is missing.

    GX retries in the transaction that the first error aborted, and reports only the last error.
    """
    from sqlalchemy.exc import DBAPIError

    with source.get_engine().connect() as connection:
        for check in suite.checks:
            try:
                connection.exec_driver_sql(f"{_failing_rows_sql(suite, check)} limit 0")
            except DBAPIError as error:
                raise ChecksNotRunError(
                    f"{check.name}: {suite.table} cannot be checked: {error.orig}"
                ) from error


def _expectations(suite: Suite, check: Check) -> list[Expectation]:
    """The expectations that decide a check."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    severity = FailureSeverity.CRITICAL if check.severity == "hard" else FailureSeverity.WARNING
    return [
        ExpectationConfiguration(
            type=expectation.type,
            kwargs=dict(expectation.kwargs),
            description=expectation.says,
            severity=severity,
            meta={"check": check.name},
        ).to_domain_obj()
        for expectation in check.built_ins or [_no_failing_row(suite, check)]
    ]


def _no_failing_row(suite: Suite, check: Check) -> BuiltIn:
    """The expectation that the check's own query finds no row."""
    columns = ["record", *(f"cast({column} as varchar) as {column}" for column in check.shown)]
    if check.amount:
        columns += ["cast(amount as varchar) as at_stake", "currency"]
    query = (
        f"select {', '.join(columns)} from ({_failing_rows_sql(suite, check, '{batch}')}) "
        "order by amount desc nulls last, record"
    )
    _register_expect_no_rows()
    return BuiltIn(
        type="expect_no_rows",
        kwargs={"unexpected_rows_query": query},
        says=_no_row_says(suite, check),
    )


def _no_row_says(suite: Suite, check: Check) -> str:
    clause = html.escape(f"{suite.table} {check.failing}", quote=False)
    return f"No row is found: <code>{clause}</code>"


@cache
def _register_expect_no_rows() -> None:
    """Make `expect_no_rows` known: GX's unexpected-rows expectation, its rows in Data Docs.

    GX 1.24 counts the rows that such a query finds and keeps up to 200, but shows none.
    """
    from great_expectations.expectations.core.unexpected_rows_expectation import (
        UnexpectedRowsExpectation,
    )
    from great_expectations.render.components import LegacyDiagnosticRendererType
    from great_expectations.render.renderer.renderer import renderer

    class ExpectNoRows(UnexpectedRowsExpectation):  # pyright: ignore[reportUnusedClass]
        """Expects that the query finds no row; GX registers the class as it is defined."""

        @classmethod
        @renderer(renderer_type=LegacyDiagnosticRendererType.UNEXPECTED_TABLE)
        def _diagnostic_unexpected_table_renderer(
            cls,
            configuration: ExpectationConfiguration | None = None,  # noqa: ARG003
            result: ExpectationValidationResult | None = None,
            runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG003
        ) -> list[RenderedTableContent | CollapseContent] | None:
            return [_rows_table(rows)] if (rows := _found_rows(result)) else None


def _found_rows(validation: ExpectationValidationResult | None) -> list[dict[str, object]]:
    result: dict[str, Any] = (validation.result if validation else None) or {}
    return result.get("details", {}).get("unexpected_rows", [])


def _rows_table(rows: Sequence[dict[str, object]]) -> RenderedTableContent:
    from great_expectations.render.components import RenderedTableContent

    return RenderedTableContent(
        content_block_type="table",
        header_row=[column.replace("_", " ") for column in rows[0]],
        table=[[_cell(value) for value in row.values()] for row in rows[:ROWS_SHOWN]],
    )


def _cell(value: object) -> str:
    """A value as HTML text; amounts without their trailing zeros."""
    text = "" if value is None else str(value)
    if _MONEY_TEXT.match(text):
        text = text.rstrip("0").rstrip(".")
    return html.escape(text)


def _judge(
    connection: Connection,
    suite: Suite,
    check: Check,
    validations: Sequence[ExpectationValidationResult],
    remembered: list[DayFinding],
) -> CheckResult:
    """The result of one check, measured on the rows that fail, with what other days gave.

    Raises:
        ChecksNotRunError: GX could not evaluate it, or it and SQL disagree about the rows.
    """
    _raise_if_not_run(suite, check, validations)
    passed = all(validation.success for validation in validations)
    # Without built-ins GX ran the same query, so that a pass leaves nothing to measure.
    asked_twice = bool(check.built_ins)

    def ask(sql: str) -> Sequence[Any]:
        return connection.exec_driver_sql(sql).fetchall()

    found = [] if passed and not asked_twice else _measure(ask, suite, check)
    rows = sum(each.rows for each in found)
    if passed == bool(rows):
        raise ChecksNotRunError(
            f"{check.name}: Great Expectations {'passes' if passed else 'fails'} {suite.table}, "
            f"yet {rows} rows satisfy '{check.failing}'; the suite contradicts itself"
        )
    return _result(suite, check, found, remembered)


def _result(
    suite: Suite,
    check: Check,
    found: list[DayFinding],
    remembered: Sequence[DayFinding] = (),
) -> CheckResult:
    everything = [*found, *remembered]
    amounts = _amounts(everything)
    return CheckResult(
        check=check.name,
        table=suite.table,
        severity=check.severity,
        passed=not everything,
        failing_rows=sum(each.rows for each in everything),
        amount_at_stake=next(iter(amounts.values())) if len(amounts) == 1 else None,
        failing_keys=_failing_keys(everything),
        description=check.meaning,
        amounts=amounts,
        by_day=found,
    )


def _amounts(findings: Sequence[DayFinding]) -> dict[str, Decimal]:
    """The exact sum of the known amounts per currency."""
    amounts: dict[str, Decimal] = {}
    with localcontext(prec=60):
        for each in findings:
            if each.amount is not None:
                amounts[each.currency] = amounts.get(each.currency, Decimal(0)) + each.amount
    return dict(sorted(amounts.items()))


def _raise_if_not_run(
    suite: Suite, check: Check, validations: Sequence[ExpectationValidationResult]
) -> None:
    if not validations:
        raise ChecksNotRunError(f"{check.name}: Great Expectations returned no result")
    for validation in validations:
        # One failure comes flat, several come by the id of the metric that could not be computed.
        info: Mapping[str, Any] = validation.exception_info or {}
        for failure in [info] if "raised_exception" in info else info.values():
            if failure["raised_exception"]:
                raise ChecksNotRunError(
                    f"{check.name}: {suite.table} could not be checked: "
                    f"{failure['exception_message']}"
                )


def _failing_rows_sql(suite: Suite, check: Check, relation: str | None = None) -> str:
    """One row per failing row: `day`, `record`, `currency`, `amount` in it, what is shown."""
    columns = [
        f"{suite.day or 'cast(null as date)'} as day",
        f"{suite.key} as record",
        f"{suite.currency} as currency",
        f"cast({check.amount or 'null'} as decimal(38, 18)) as amount",
        *check.shown,
    ]
    return f"select {', '.join(columns)} from {relation or suite.rows} {check.failing}"


def _measure(ask: Callable[[str], Sequence[Any]], suite: Suite, check: Check) -> list[DayFinding]:
    """What the failing rows add up to, exactly, and the worst of them, by day and currency."""
    rows = ask(f"""
        with failing as (
            select day, coalesce(currency, '') as currency, record, count(*) as failures,
                sum(amount) as amount, max(amount) as worst
            from ({_failing_rows_sql(suite, check)})
            group by all
        )
        select
            day, currency, cast(sum(failures) as bigint), sum(amount),
            list(record order by worst desc nulls last, record)[:{ROWS_SHOWN}],
            list(worst order by worst desc nulls last, record)[:{ROWS_SHOWN}]
        from failing
        group by day, currency
        order by day nulls first, currency
        """)
    return [
        DayFinding(day, currency, count, amount, list(zip(keys, worst, strict=True)))
        for day, currency, count, amount, keys, worst in rows
    ]


def _failing_keys(findings: Sequence[DayFinding]) -> list[str]:
    """The keys of failing rows with most money at stake."""
    worst: dict[str, Decimal | None] = {}
    for key, amount in (failure for each in findings for failure in each.failures):
        known = worst.get(key)
        worst[key] = amount if known is None else max(known, amount or known)
    ranked = sorted(worst.items(), key=lambda each: (each[1] is None, -(each[1] or 0), each[0]))
    return [str(key) for key, _amount in ranked[:ROWS_SHOWN]]


# ---------------------------------------------------------------- the page

_SECTIONS_FILE = "sections.json"


def _draw_sections(
    validations: Sequence[list[ExpectationValidationResult]], results: Sequence[CheckResult]
) -> list[str]:
    """Each check as Great Expectations renders it, in HTML."""
    from great_expectations.render.components import (
        RenderedDocumentContent,
        RenderedSectionContent,
    )
    from great_expectations.render.renderer.content_block.validation_results_table_content_block import (  # noqa: E501
        ValidationResultsTableContentBlockRenderer,
    )
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader, PackageLoader

    sections = [
        RenderedSectionContent(
            section_name=result.check,
            content_blocks=[ValidationResultsTableContentBlockRenderer.render(found)],
        )
        for found, result in zip(validations, results, strict=True)
    ]
    view = DefaultJinjaPageView()
    theirs = PackageLoader("great_expectations", "render/view/templates")
    view.env.loader = ChoiceLoader([DictLoader({"page.j2": _DRAWN}), theirs])
    drawn = view.render(RenderedDocumentContent(sections=sections), separator=_SEPARATOR)
    return drawn.split(_SEPARATOR)[:-1]


# HTML allows no such character, so it stands in no section.
_SEPARATOR = "\x1e"
_DRAWN = """\
{% for section in sections %}{% set section_loop = loop %}{% include "section.j2" %}{{ separator }}\
{% endfor %}"""


def _said(suite: Suite, check: Check) -> list[str]:
    """What the expectations of a check say, which names the days in question and the clock."""
    return [each.says for each in check.built_ins] or [_no_row_says(suite, check)]


def _sections_key(asked: Sequence[Suite]) -> list[str]:
    """What the section of a check that passes depends on, besides what its expectations say."""
    checks = [f"{check.name}:{len(check.built_ins)}" for suite in asked for check in suite.checks]
    return [version("great_expectations"), *checks]


def _keep_sections(
    docs_folder: Path,
    asked: Sequence[Suite],
    findings: Sequence[_Finding],
    sections: Sequence[str],
) -> None:
    """Keep the sections of checks that pass, with what is to be replaced in them next time."""
    path = docs_folder / _SECTIONS_FILE
    key = _sections_key(asked)
    kept = _kept_sections(path, key)
    checks = [(suite, check) for suite in asked for check in suite.checks]
    for (suite, check), finding, section in zip(checks, findings, sections, strict=True):
        said = _said(suite, check)
        # Of no rows at all GX says something else than of rows that are all right.
        is_typical = all(
            each.success and each.result.get("element_count") != 0 for each in finding.validations
        )
        if is_typical and all(section.count(each) == 1 for each in said):
            kept[check.name] = {"says": said, "html": section}
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps({"key": key, "sections": kept}), encoding="utf-8")
    unfinished.replace(path)


def _kept_sections(path: Path, key: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_valid = isinstance(found, dict) and found.get("key") == key
    return found["sections"] if is_valid else {}


def _read_sections(docs_folder: Path, asked: Sequence[Suite]) -> list[str] | None:
    """The section of each check where it passes; None where one was never drawn."""
    kept = _kept_sections(docs_folder / _SECTIONS_FILE, _sections_key(asked))
    sections = []
    for suite in asked:
        for check in suite.checks:
            if check.name not in kept:
                return None
            section = kept[check.name]["html"]
            said = _said(suite, check)
            for before, now in zip(kept[check.name]["says"], said, strict=True):
                section = section.replace(before, now)
            sections.append(section)
    return sections


def _write_page(
    docs_folder: Path,
    results: Sequence[CheckResult],
    sections: Sequence[str],
    as_of: datetime,
    scope: Scope,
) -> None:
    """Write `index.html`: a summary, then each check as Great Expectations renders it."""
    from jinja2 import Environment

    page = (
        Environment(autoescape=True)
        .from_string(_PAGE)
        .render(
            sections=sections,
            results=[_shown(result) for result in results],
            style=_STYLE,
            as_of=_utc_text(as_of),
            days=scope.days,
            ge_version=version("great_expectations"),
        )
    )
    docs_folder.mkdir(parents=True, exist_ok=True)
    unfinished = docs_folder / "index.html.tmp"
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(docs_folder / "index.html")


def _utc_text(as_of: datetime) -> str:
    utc = as_of.astimezone(UTC) if as_of.tzinfo else as_of
    return utc.strftime("%Y-%m-%d %H:%M UTC")


def _shown(result: CheckResult) -> dict[str, Any]:
    """A result as the page prints it."""
    state = "passed" if result.passed else "failed" if result.severity == "hard" else "warning"
    return {
        "check": result.check,
        "table": result.table,
        "severity": result.severity,
        "state": state,
        "failing_rows": f"{result.failing_rows:,}",
        "amounts": [f"{_plain(amount)} {unit}" for unit, amount in result.amounts.items()],
        "description": result.description,
    }


def _plain(amount: Decimal) -> str:
    """Every digit that counts, with thousands separators."""
    text = f"{amount:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# GX's own page takes its style and its scripts from six hosts on the internet: without them the
# index is empty and nothing is legible. This page stands alone, runs no script, and asks nobody.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Tollbook data checks, {{ as_of }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<h1>Data checks</h1>
{% set failed = results | rejectattr("state", "eq", "passed") | list -%}
{% set hard = results | selectattr("state", "eq", "failed") | list -%}
<p class="lead">As of {{ as_of }}: {{ results | length - failed | length }} of
{{ results | length }} checks passed.
{% if hard %}<strong class="failed">Hard checks that failed: {{ hard | length }}. They stop the
publish.</strong>{% else %}No hard check failed.{% endif %}
{% if days is not none %}Judged anew: {{ days | length }}
day{{ "" if days | length == 1 else "s" }} of usage that changed since the last run; the figures of
all other days are those of their own last check.{% endif %}</p>
<table class="summary">
<thead><tr><th>Result</th><th>Check</th><th>Table</th><th>Kind</th>
<th class="number">Failing rows</th><th class="number">At stake</th></tr></thead>
<tbody>
{% for result in results %}<tr>
<td><span class="badge {{ result.state }}">{{ result.state }}</span></td>
<td><a href="#check-{{ loop.index }}">{{ result.check | e }}</a></td>
<td>{{ result.table | e }}</td>
<td>{{ result.severity }}</td>
<td class="number">{{ result.failing_rows }}</td>
<td class="number">{{ result.amounts | map("e") | join("<br>" | safe) }}</td>
</tr>
{% endfor %}</tbody>
</table>
{% for section in sections %}{% set result = results[loop.index0] %}
<section id="check-{{ loop.index }}">
<h2><span class="badge {{ result.state }}">{{ result.state }}</span> {{ result.check | e }}</h2>
<p>{{ result.description | e }}</p>
{{ section | safe }}
</section>
{% endfor %}
<footer>Great Expectations {{ ge_version }} Data Docs. A table of failing rows shows at most
ROWS_SHOWN, those with most money at stake first; amounts are exact.</footer>
</main>
</body>
</html>
""".replace("ROWS_SHOWN", str(ROWS_SHOWN))

_STYLE = """
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #1f2430; background: #f6f7f9; }
main { max-width: 80rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 0; }
.lead { margin: .25rem 0 1.5rem; }
section { background: #fff; border: 1px solid #dfe3ea; border-radius: 6px;
  padding: 1rem 1.25rem; margin-top: 1.25rem; overflow-x: auto; }
section > p { margin: .4rem 0 .9rem; color: #4b5363; max-width: 60rem; }
table { border-collapse: collapse; width: 100%; background: #fff; }
.summary { border: 1px solid #dfe3ea; }
th, td { padding: .4rem .7rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e8ebf0; overflow-wrap: break-word; }
th { font-weight: 600; background: #f0f2f6; white-space: nowrap; }
code { font-size: .85em; color: #4b5363; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td table { margin-top: .6rem; font-size: .9em; }
a { color: #1a56b0; }
.badge { display: inline-block; min-width: 4.2em; padding: 0 .5em; border-radius: 4px;
  text-align: center; font-size: .85rem; font-weight: 600; color: #fff; }
.badge.passed { background: #22703c; }
.badge.warning { background: #8a5a00; }
.badge.failed { background: #b3261e; }
strong.failed, .text-danger { color: #b3261e; }
.fas::before { font-style: normal; font-weight: 700; }
.fa-check-circle::before { content: "\\2713"; color: #22703c; }
.fa-times::before { content: "\\2717"; }
footer { margin-top: 2rem; color: #4b5363; font-size: .85rem; }
"""
