"""What one run does, step by step; the assets and the command line call these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.landing.extract import ExtractReport, extract, pulled_sources
from orchestration.landing.seed_files import SeedProblem
from orchestration.warehouse import check_scope, invariants, publish, redaction, transform
from orchestration.warehouse.check_scope import Scope
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.gaps import record_gaps
from orchestration.warehouse.invariants import CheckResult
from orchestration.warehouse.known import KnownRows
from orchestration.warehouse.ledger import Ledger
from orchestration.warehouse.load import LoadReport, load_landing
from orchestration.warehouse.publish import Publication, PublishRefusedError
from orchestration.warehouse.retention import RetentionReport, apply_retention
from orchestration.warehouse.schema import create_schema
from orchestration.warehouse.transform import BuildPlan, NodeResult

Progress = Callable[[str], None]


class HardCheckFailedError(RuntimeError):
    """A check that stops a publish failed; readers keep the last good version."""


@dataclass(slots=True)
class RunLog:
    """What the steps of one run left behind, for whoever reports it.

    Attributes:
        seconds: Wall seconds by step.
        handled: What each step counted: rows loaded, nodes built, checks, rows published.
        problems: One line each, in the order met.
        seed_problems: What was wrong with people's reference data.
    """

    extract: ExtractReport | None = None
    load: LoadReport | None = None
    plan: BuildPlan | None = None
    nodes: list[NodeResult] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    publication: Publication | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    handled: dict[str, int | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seed_problems: list[SeedProblem] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """Tables that the build wrote, as schema.table."""
        return sorted(node.relation for node in self.nodes if node.unique_id.startswith("model."))


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one run over one home.

    Attributes:
        run: The orchestrator's run id, for audit.runs.
    """

    runtime: Runtime
    run: str
    log: RunLog
    progress: Progress

    def extract(self, *, depth: str = "hourly") -> ExtractReport:
        """Ask every source with a connection for what is not known; one that fails is noted.

        A report that is already in the log, as one made before the run began, is not made again.
        """
        if not pulled_sources(self.runtime):
            return ExtractReport()
        if self.log.extract is None:
            with self._step("extract") as rows:
                report = extract(
                    self.runtime,
                    lambda source: KnownRows(self.runtime, source),
                    depth=depth,
                    progress=self.progress,
                )
                rows.append(report.rows)
                self.log.extract = report
            self._record_sources(report)
            for line in (note for each in report.sources for note in each.notes):
                self.progress(line)
        return self.log.extract

    def _record_sources(self, report: ExtractReport) -> None:
        """One line of audit.runs for each source: whether it answered, and what it gave."""
        now = datetime.now(UTC).replace(tzinfo=None)
        with open_warehouse(self.runtime) as connection:
            create_schema(connection)
            for each in report.sources:
                record_gaps(connection, each, self.runtime.as_of)
                status = "failed" if each.problems else "done"
                step, rows = f"extract {each.source}", sum(each.rows.values())
                self._write_run(connection, step, now, 0.0, rows, status)

    def load(self) -> LoadReport:
        """Load what is new in the landing folder."""
        with self._step("load") as rows, open_warehouse(self.runtime) as connection:
            create_schema(connection)
            transform.write_sources(connection, self.runtime)
            missing = Ledger(connection).missing_batches(self.runtime.home)
            if missing:
                self.progress(
                    f"the warehouse has lost {missing} load batches since its last checkpoint; "
                    "they are loaded again from landing"
                )
            report = load_landing(connection, self.runtime, progress=self.progress)
            if report.batches:
                transform.note_unchecked(connection)
            connection.execute("checkpoint")
            rows.append(report.total("rows_loaded"))
        self.log.load = report
        return report

    def build(self, *, full_refresh: bool = False) -> list[NodeResult]:
        """Build the marts for what changed, with the data tests beside them.

        Raises:
            transform.BuildFailedError: a model or a test failed.
        """
        with self._step("build") as rows:
            self.log.seed_problems = transform.write_checked_seeds(self.runtime)
            for problem in self.log.seed_problems:
                self.progress(str(problem))
            with open_warehouse(self.runtime) as connection:
                create_schema(connection)
                transform.write_sources(connection, self.runtime)
                transform.write_refused_seeds(connection, self.log.seed_problems)
                transform.take_up_synced_days(connection)
                plan = transform.plan_build(connection, self.runtime, full_refresh=full_refresh)
                transform.note_building(connection, plan)
            self.log.plan = plan
            self.progress(_described(plan))
            nodes = transform.build_marts(self.runtime, plan, on_node=self._tell_node)
            self.log.nodes = nodes
            rows.append(len(nodes))
            self._refuse_failed(nodes)
            with open_warehouse(self.runtime) as connection:
                transform.remember_build(connection, self.runtime, plan, nodes)
                connection.execute("checkpoint")
            if plan.touched_days is None:
                # What the models are changes only with a build of every day.
                transform.write_model_docs(self.runtime)
        return nodes

    def _tell_node(self, name: str, index: int, total: int) -> None:
        self.progress(f"build {index} of {total}: {name}")

    def _refuse_failed(self, nodes: list[NodeResult]) -> None:
        failed = transform.failed_nodes(nodes)
        for node in failed:
            message = " ".join(node.message.split())[:300]
            self.log.problems.append(f"{node.unique_id}: {node.status}: {message}")
        if failed:
            raise transform.BuildFailedError(self.log.problems[-len(failed)])

    def sync(self) -> Publication | None:
        """Make new usage visible: load, the marts of the days it touched, hard checks, publish.

        Returns:
            None where every day is due to be built: that is the hourly run's work.

        Raises:
            transform.BuildFailedError: a model failed.
            HardCheckFailedError: nothing is published.
        """
        self.load()
        if not self._build_days():
            return None
        refuse_failed_checks(self._check_hard())
        return self.publish()

    def _build_days(self) -> bool:
        """Build what replaces days, for the days that changed; whether that is enough."""
        with open_warehouse(self.runtime) as connection:
            plan = transform.plan_build(connection, self.runtime)
            if transform.read_state(connection, transform.MARTS) == transform.BUILDING:
                plan = replace(plan, touched_days=None, reason="the last build did not end")
            # Seeds are the run's to read and to judge; a sync goes by those that are loaded.
            if plan.has_new_seeds:
                plan = replace(plan, has_new_seeds=False)
        self.log.plan = plan
        if plan.touched_days is None:
            self.log.problems.append(
                f"every day is due to be built, because {plan.reason}; "
                "the next `tollbook run` builds and publishes"
            )
            return False
        with self._step("build") as rows:
            with open_warehouse(self.runtime) as connection:
                transform.note_building(connection, plan, is_sync=True)
            self.progress(_described(plan))
            nodes = transform.build_marts(
                self.runtime,
                plan,
                on_node=self._tell_node,
                select=list(transform.SYNCED),
                is_tested=False,
            )
            self.log.nodes = nodes
            rows.append(len(nodes))
            self._refuse_failed(nodes)
            with open_warehouse(self.runtime) as connection:
                transform.remember_sync(connection, nodes)
                connection.execute("checkpoint")
        return True

    def _check_hard(self) -> list[CheckResult]:
        """Run the hard checks alone, on what is in question."""
        from orchestration.warehouse.expectations import check_hard

        with self._step("check") as rows, open_warehouse(self.runtime) as connection:
            create_schema(connection)
            as_of = self.runtime.as_of
            scope = check_scope.plan_checks(connection, as_of, is_sync=True)
            results = invariants.check_invariants(connection, scope)
            results += check_hard(connection, as_of=as_of, scope=scope)
            invariants.write_results(connection, results, as_of, is_part=True)
            transform.note_checked(connection)
            rows.append(len(results))
        self.progress(f"check: {len(results)} hard checks, {_in_scope(scope)}")
        self.log.checks = results
        self.log.problems.extend(_described_failures(results))
        return results

    def touch_days(self, first_day: str, last_day: str) -> None:
        """Have the next build take up the days from the first to the last again.

        Raises:
            ConfigurationError: they are no days, or not in this order.
        """
        try:
            first, last = date.fromisoformat(first_day), date.fromisoformat(last_day)
        except ValueError as error:
            raise ConfigurationError(f"{error}; write days like 2026-10-31") from error
        if last < first:
            raise ConfigurationError(f"last_day {last} lies before first_day {first}")
        days = [str(first + timedelta(days=each)) for each in range((last - first).days + 1)]
        with open_warehouse(self.runtime) as connection:
            create_schema(connection)
            transform.touch_days(connection, days)

    def retain(self) -> RetentionReport:
        """Take out of raw and landing what the settings keep no longer; marts follow by a build."""
        with self._step("retention") as rows, open_warehouse(self.runtime) as connection:
            create_schema(connection)
            report = apply_retention(connection, self.runtime, progress=self.progress)
            rows.append(report.rows)
        return report

    def check(self) -> list[CheckResult]:
        """Run the hard checks and the expectations; write their page and their results."""
        from orchestration.warehouse.expectations import pass_by_sql, run_expectations

        asking = {
            "docs_folder": self.runtime.home / "checks",
            "as_of": self.runtime.as_of,
            "progress": self.progress,
        }
        with self._step("check") as rows:
            with open_warehouse(self.runtime) as connection:
                create_schema(connection)
                scope = check_scope.plan_checks(connection, self.runtime.as_of)
                remembered = check_scope.read_remembered(connection, scope)
                results = invariants.check_invariants(connection, scope)
                said = f"check: {len(results)} invariants between layers, {_in_scope(scope)}"
                self.progress(said)
                passed = pass_by_sql(connection, scope=scope, remembered=remembered, **asking)
                if passed is not None:
                    results += passed
                    self._note_checked(connection, scope, results)
            if passed is None:
                results += run_expectations(
                    database=self.runtime.database, scope=scope, remembered=remembered, **asking
                )
                with open_warehouse(self.runtime) as connection:
                    self._note_checked(connection, scope, results)
            rows.append(len(results))
        self.log.checks = results
        self.log.problems.extend(_described_failures(results))
        return results

    def _note_checked(
        self, connection: duckdb.DuckDBPyConnection, scope: Scope, results: list[CheckResult]
    ) -> None:
        invariants.write_results(connection, results, self.runtime.as_of)
        check_scope.note_findings(connection, scope, {each.check: each.by_day for each in results})
        if not _described_failures(results):
            check_scope.note_passed(connection, scope, self.runtime.as_of)
        transform.note_checked(connection)

    def publish(self) -> Publication:
        """Publish the marts, unless a hard check failed or none was run on them since they changed.

        Raises:
            HardCheckFailedError: nothing is published.
            PublishRefusedError: the snapshot differs from its source.
        """
        with self._step("publish") as rows, open_warehouse(self.runtime) as connection:
            _refuse_unchecked(connection)
            self.progress("publish: writing and verifying the snapshot")
            is_redacting = redaction.is_redacting(connection)
            publication = publish.publish(connection, self.runtime, is_whole=is_redacting)
            transform.write_state(connection, transform.UNPUBLISHED, "false")
            rows.append(publication.rows_written)
        if is_redacting:
            self.progress("publish: removing earlier versions and free space")
            redaction.erase_remains(self.runtime)
        self.log.publication = publication
        return publication

    @contextmanager
    def _step(self, name: str) -> Iterator[list[int]]:
        started_at = datetime.now(UTC).replace(tzinfo=None)
        begun = time.monotonic()
        rows: list[int] = []
        status = "failed"
        try:
            yield rows
            status = "done"
        finally:
            seconds = time.monotonic() - begun
            self.log.seconds[name] = seconds
            self.log.handled[name] = rows[0] if rows else None
            self._record(name, started_at, seconds, rows[0] if rows else None, status)

    def _record(
        self, step: str, started_at: datetime, seconds: float, rows: int | None, status: str
    ) -> None:
        with open_warehouse(self.runtime) as connection:
            try:
                self._write_run(connection, step, started_at, seconds, rows, status)
            except duckdb.CatalogException:
                # The step failed before it made the tables.
                create_schema(connection)
                self._write_run(connection, step, started_at, seconds, rows, status)

    def _write_run(
        self,
        connection: duckdb.DuckDBPyConnection,
        step: str,
        started_at: datetime,
        seconds: float,
        rows: int | None,
        status: str,
    ) -> None:
        connection.execute(
            "insert into audit.runs values (?, ?, ?, ?, ?, ?)",
            [self.run, step, started_at, round(seconds, 3), rows, status],
        )


def _in_scope(scope: Scope) -> str:
    if scope.days is None:
        return f"every day, because {scope.reason}"
    return f"{len(scope.days)} days that changed"


def _described(plan: BuildPlan) -> str:
    if plan.touched_days is None:
        return f"build: every day, because {plan.reason}"
    if not plan.touched_days:
        changed = [
            name
            for name, has_news in (
                ("prices", plan.has_new_prices),
                ("owners", plan.has_new_owners),
            )
            if has_news
        ]
        return (
            f"build: the days whose {' or '.join(changed)} changed"
            if changed
            else "build: no day of usage changed"
        )
    return f"build: {len(plan.touched_days)} days that changed"


def refuse_failed_checks(results: list[CheckResult]) -> None:
    """Nothing, unless a hard check failed.

    Raises:
        HardCheckFailedError: it names the checks, their rows and the first of their keys.
    """
    failed = _described_failures(results)
    if failed:
        raise HardCheckFailedError("; ".join(failed))


def _described_failures(results: list[CheckResult]) -> list[str]:
    return [
        f"hard check {result.check} on {result.table}: {result.failing_rows} rows, "
        f"first {', '.join(result.failing_keys[:3])}"
        for result in results
        if not result.passed and result.severity == "hard"
    ]


def _refuse_unchecked(connection: duckdb.DuckDBPyConnection) -> None:
    failed = connection.execute(
        'select "check", failing_rows from audit.check_results '
        "where severity = 'hard' and not passed order by 1"
    ).fetchall()
    if failed:
        named = ", ".join(f"{check} ({rows} rows)" for check, rows in failed)
        raise HardCheckFailedError(f"hard checks failed: {named}; nothing was published")
    marts = transform.read_state(connection, transform.MARTS)
    if marts in (transform.BUILDING, transform.SYNCING):
        raise HardCheckFailedError(
            "the last build did not end; nothing was published (`tollbook run` builds anew)"
        )
    if marts != transform.CHECKED:
        raise HardCheckFailedError(
            "the marts were not checked since they last changed; nothing was published "
            "(`tollbook run --only check` checks them)"
        )


__all__ = [
    "HardCheckFailedError",
    "PublishRefusedError",
    "RunLog",
    "Steps",
    "refuse_failed_checks",
]
