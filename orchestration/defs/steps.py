"""What one run does, step by step; the assets and the command line call these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb

from orchestration.config import Runtime
from orchestration.warehouse import invariants, publish, transform
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.invariants import CheckResult
from orchestration.warehouse.ledger import Ledger
from orchestration.warehouse.load import LoadReport, load_landing
from orchestration.warehouse.publish import Publication, PublishRefusedError
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
        problems: One line each, in the order met.
    """

    load: LoadReport | None = None
    plan: BuildPlan | None = None
    nodes: list[NodeResult] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    publication: Publication | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


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
            with open_warehouse(self.runtime) as connection:
                create_schema(connection)
                transform.write_sources(connection, self.runtime)
                plan = transform.plan_build(connection, self.runtime, full_refresh=full_refresh)
                transform.write_state(connection, transform.MARTS, transform.BUILDING)
            self.log.plan = plan
            self.progress(_described(plan))
            nodes = transform.build_marts(self.runtime, plan, on_node=self._tell_node)
            self.log.nodes = nodes
            rows.append(len(nodes))
            self._refuse_failed(nodes)
            with open_warehouse(self.runtime) as connection:
                transform.remember_build(connection, self.runtime, plan)
                connection.execute("checkpoint")
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

    def check(self) -> list[CheckResult]:
        """Run the hard checks and the expectations; write their page and their results."""
        from orchestration.warehouse.expectations import run_expectations

        with self._step("check") as rows:
            with open_warehouse(self.runtime) as connection:
                results = invariants.check_invariants(connection)
            self.progress(f"check: {len(results)} invariants between layers")
            results += run_expectations(
                database=self.runtime.database,
                docs_folder=self.runtime.home / "checks",
                as_of=self.runtime.as_of,
                progress=self.progress,
            )
            with open_warehouse(self.runtime) as connection:
                invariants.write_results(connection, results, self.runtime.as_of)
                transform.note_checked(connection)
            rows.append(len(results))
        self.log.checks = results
        self.log.problems.extend(_described_failures(results))
        return results

    def publish(self) -> Publication:
        """Publish the marts, unless a hard check failed or none was run on them since they changed.

        Raises:
            HardCheckFailedError: nothing is published.
            PublishRefusedError: the snapshot differs from its source.
        """
        with self._step("publish") as rows, open_warehouse(self.runtime) as connection:
            _refuse_unchecked(connection)
            self.progress("publish: writing and verifying the snapshot")
            publication = publish.publish(connection, self.runtime)
            transform.write_state(connection, transform.UNPUBLISHED, "false")
            rows.append(sum(count for count, _ in publication.tables.values()))
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
            self._record(name, started_at, seconds, rows[0] if rows else None, status)

    def _record(
        self, step: str, started_at: datetime, seconds: float, rows: int | None, status: str
    ) -> None:
        with open_warehouse(self.runtime) as connection:
            create_schema(connection)
            connection.execute(
                "insert into audit.runs values (?, ?, ?, ?, ?, ?)",
                [self.run, step, started_at, round(seconds, 3), rows, status],
            )


def _described(plan: BuildPlan) -> str:
    if plan.touched_days is None:
        return f"build: every day, because {plan.reason}"
    if not plan.touched_days:
        return "build: no day of usage changed"
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
    if marts == transform.BUILDING:
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
