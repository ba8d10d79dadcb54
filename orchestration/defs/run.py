"""One run from the command line: the same job as the schedule's, in this process, recorded."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import dagster as dg

from orchestration.config import ConfigurationError, Runtime
from orchestration.defs.assets import WAREHOUSE_POOL
from orchestration.defs.code_location import build_code_location
from orchestration.defs.event_log import keep_connections
from orchestration.defs.jobs import HOURLY
from orchestration.defs.resources import (
    PROCESS_TAG,
    Listener,
    listening,
    this_process,
    tollbook_resource,
)
from orchestration.defs.steps import RunLog
from orchestration.defs.sync import SYNC
from orchestration.landing.extract import ExtractReport, pulled_sources
from orchestration.warehouse.load import LoadReport
from orchestration.warehouse.transform import write_checked_seeds

STEPS = ("extract", "load", "build", "check", "publish", "export")
_INSTANCE = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    default_limit: 1
"""


@dataclass(slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        status: published, done (a step alone), or failed.
        exit_code: 0, 1, or 3 (published, but a source could not be read or a file was refused).
        problems: One line each: why it failed, which sources were not read, which files refused.
        version: Number of the published snapshot.
        seconds, handled: Wall seconds of each step, and how much it counted (see RunLog).
    """

    status: str
    exit_code: int
    extract: ExtractReport | None = None
    load: LoadReport | None = None
    problems: list[str] = field(default_factory=list)
    version: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    handled: dict[str, int | None] = field(default_factory=dict)


def run_pipeline(
    runtime: Runtime,
    *,
    only: str | None = None,
    full_refresh: bool = False,
    extracted: ExtractReport | None = None,
    progress: Callable[[str], None] = lambda _line: None,
    wait: timedelta = timedelta(0),
) -> RunOutcome:
    """Run the hourly job, or one step of it, once.

    Args:
        extracted: What the sources gave when they were asked just before; they are not asked again.
        wait: How long to wait for a run that is writing the warehouse before this one is skipped.

    Raises:
        ConfigurationError: `only` names no step.
    """
    if only is not None and only not in STEPS:
        raise ConfigurationError(f"--only {only}: expected one of {', '.join(STEPS)}")
    if only == "export" or (only == "extract" and not pulled_sources(runtime)):
        # Nothing is configured that this version would extract or export.
        return RunOutcome(status="done", exit_code=0)
    log = RunLog(extract=extracted)
    problem = _execute(
        runtime, only or HOURLY, log, progress=progress, wait=wait, full_refresh=full_refresh
    )
    if problem is not None:
        return problem
    unread = log.extract.problems if log.extract else []
    refused = _refused_files(log.load, runtime)
    refused += [str(problem) for problem in log.seed_problems if problem.is_refused]
    if only == "extract" and unread:
        return RunOutcome("failed", 1, problems=unread, seconds=log.seconds)
    return RunOutcome(
        status="published" if log.publication else "done",
        exit_code=3 if refused or unread else 0,
        extract=log.extract,
        load=log.load,
        problems=[*unread, *refused],
        version=log.publication.version if log.publication else None,
        seconds=log.seconds,
        handled=log.handled,
    )


def run_sync(
    runtime: Runtime,
    *,
    extracted: ExtractReport | None = None,
    progress: Callable[[str], None] = lambda _line: None,
    wait: timedelta = timedelta(0),
) -> RunOutcome:
    """Run the five-minute job once."""
    log = RunLog(extract=extracted)
    problem = _execute(runtime, SYNC, log, progress=progress, wait=wait)
    if problem is not None:
        return problem
    unread = log.extract.problems if log.extract else []
    refused = [*unread, *_refused_files(log.load, runtime)]
    return RunOutcome(
        status="published" if log.publication else "done",
        exit_code=3 if refused and log.publication else 0,
        extract=log.extract,
        load=log.load,
        problems=[*log.problems, *refused],
        version=log.publication.version if log.publication else None,
        seconds=log.seconds,
        handled=log.handled,
    )


def _execute(
    runtime: Runtime,
    job: str,
    log: RunLog,
    *,
    progress: Callable[[str], None],
    wait: timedelta,
    full_refresh: bool = False,
) -> RunOutcome | None:
    """Run one job in this process, recorded; how it went if it did not end well."""
    tollbook = tollbook_resource(
        runtime, as_of=runtime.as_of.isoformat(), full_refresh=full_refresh
    )
    # Seeds that cannot be read are wrong configuration: said before anything is begun.
    write_checked_seeds(runtime)
    progress("reading the models")
    definitions = build_code_location(runtime, tollbook).definitions
    resolved = definitions.resolve_job_def(job)
    with _instance(runtime.home) as instance, listening(runtime.home, Listener(log, progress)):
        keep_connections(instance)
        _end_killed_runs(instance)
        holder = _wait_for_slot(instance, wait, progress)
        if holder is not None:
            waited = f" after {wait}" if wait else ""
            problem = (
                f"skipped{waited}: run {holder} is writing the warehouse; wait for that run to end"
            )
            return RunOutcome("failed", 1, problems=[problem])
        result = resolved.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config=_QUIET,
            tags={PROCESS_TAG: this_process()},
        )
    if result.success:
        return None
    log.problems.extend(_failures(result, known=log.problems))
    return RunOutcome("failed", 1, load=log.load, problems=log.problems, seconds=log.seconds)


def _wait_for_slot(
    instance: dg.DagsterInstance, wait: timedelta, progress: Callable[[str], None]
) -> str | None:
    """The run that still holds the warehouse's slot when the time is up; None when it is free."""
    until = time.monotonic() + wait.total_seconds()
    while (holder := _run_at_work(instance)) is not None and time.monotonic() < until:
        progress(f"waiting for run {holder} to end")
        time.sleep(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        _end_killed_runs(instance)
    return holder


# How often a waiting run looks whether the one at work has ended.
_LOOK_SECONDS = 2.0
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _instance(home: Path) -> dg.DagsterInstance:
    """The instance whose runs `dagster dev` shows when DAGSTER_HOME is HOME/dagster."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_INSTANCE)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return dg.DagsterInstance.from_config(str(folder))


def _end_killed_runs(instance: dg.DagsterInstance) -> None:
    """Record as failed the runs whose process was killed: it could not, and nobody else will."""
    unfinished = (
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    )
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=unfinished)):
        host, _, process = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(process)):
            instance.report_run_failed(run, message=f"Process {process} of this run was killed.")


def _run_at_work(instance: dg.DagsterInstance) -> str | None:
    """The run that holds the warehouse's slot; one that has ended gives it back first.

    A killed step keeps its slot, and Dagster would let every later run wait for it, for ever.
    """
    storage = instance.event_log_storage
    slot = storage.get_concurrency_info(WAREHOUSE_POOL)
    for run_id in sorted(slot.active_run_ids | slot.assigned_run_ids | slot.pending_run_ids):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
    return min(storage.get_concurrency_info(WAREHOUSE_POOL).active_run_ids, default=None)


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        # No run of this process has begun: the one that bears its number is of an earlier one.
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _failures(result: dg.ExecuteInProcessResult, *, known: list[str]) -> list[str]:
    """The cause of each failed step, in one line; steps that failed with it are left out."""
    lines = []
    for event in (each for each in result.all_events if each.is_step_failure):
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        text = " ".join((error.message if error else event.message or "").split())
        line = f"{event.step_key}: {text}"
        if not any(problem in text for problem in known):
            lines.append(line)
    return lines or ([] if known else ["the run failed; `dagster dev` shows why"])


def _refused_files(report: LoadReport | None, runtime: Runtime) -> list[str]:
    share = runtime.settings.quality.quarantine_share
    lines = []
    for batch in report.batches if report else ():
        if batch.status == "rejected":
            lines.append(f"{batch.file_name}: rejected: {batch.reason_code}: {batch.reason}")
        elif batch.rows_quarantined and (
            batch.rows_quarantined > share * batch.rows_in
            or batch.rows_quarantined == batch.rows_in
        ):
            lines.append(
                f"{batch.file_name}: {batch.rows_quarantined} of {batch.rows_in} rows quarantined"
            )
    return lines
