"""The command line `tollbook`: its commands, their exit codes, and one line for what goes wrong."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO, TypeVar

import typer

from orchestration import terminal
from orchestration.config import (
    ConfigurationError,
    Runtime,
    config_path,
    read_duration,
    read_runtime,
)
from orchestration.core.refusals import without_secrets
from orchestration.terminal import complain, say

if TYPE_CHECKING:
    from orchestration.defs.run import RunOutcome
    from orchestration.landing.extract import ExtractReport
    from orchestration.warehouse.close import Closed
    from orchestration.warehouse.reading import Answer

DONE, FAILED, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
_ANYWHERE = (
    "--config FILE, --home DIR, --as-of TIME and --debug stand before or after any command; "
    "`tollbook --help` explains them."
)


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand before or after any command."""

    config: Path | None = None
    home: Path | None = None
    as_of: str | None = None
    is_debug: bool = False

    def runtime(self) -> Runtime:
        """The settings, folders and clock they name.

        Raises:
            ConfigurationError: one line naming file, line, key and fix.
        """
        return read_runtime(config=self.config, home=self.home, as_of=self.as_of)


def take_options(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """The options that stand anywhere, and what is left for the command.

    Raises:
        ConfigurationError: one of them has no value.
    """
    options, rest = Options(), []
    pending = iter(arguments)
    for argument in pending:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += ["--", *pending]
        elif argument == "--debug":
            options = replace(options, is_debug=True)
        elif name in ("--config", "--home", "--as-of"):
            value = value if equals else next(pending, "")
            if not value:
                raise ConfigurationError(f"{name}: expected a value behind it")
            given = value if name == "--as-of" else Path(value)
            options = replace(options, **{name[2:].replace("-", "_"): given})
        else:
            rest.append(argument)
    return options, rest


# ---------------------------------------------------------------- commands

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
app = typer.Typer(
    add_completion=False,
    context_settings=_SETTINGS,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done. 1 failed, nothing was published. 2 wrong use or configuration. "
    "3 published, but a file was rejected or too much of it refused.",
)
quarantine = typer.Typer(context_settings=_SETTINGS, epilog=_ANYWHERE, rich_markup_mode=None)
app.add_typer(quarantine, name="quarantine")


@app.callback(invoke_without_command=True)
def tollbook(
    context: typer.Context,
    _config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings. [TOLLBOOK_CONFIG, ./tollbook.yml]"
        ),
    ] = None,
    _home: Annotated[
        str | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder of landing, warehouse and published file. [TOLLBOOK_HOME, ./data]",
        ),
    ] = None,
    _as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="The clock: 2026-10-31T12:00:00Z. [now]"),
    ] = None,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose in the code.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> int | None:
    """Tollbook: every charge of AI APIs traced to its request, owner, model and price.

    The options --config, --home, --as-of and --debug stand before or after any command.
    """
    if version:
        from importlib.metadata import version as version_of

        say(f"tollbook {version_of('tollbook')}")
        raise typer.Exit(DONE)
    return _help_without_command(context)


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(DONE)


# The year of what has no end.
_OPEN_YEAR = 9999
_WAIT_HELP = "How long to wait while another run writes the warehouse: 90s, 5m, 1h."


class Step(StrEnum):
    """A step of a run that can be taken alone."""

    extract = "extract"
    load = "load"
    build = "build"
    check = "check"
    publish = "publish"
    export = "export"


class FailOn(StrEnum):
    """What makes `status` fail."""

    blocking = "blocking"


class Format(StrEnum):
    """How `query` answers."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


@app.command(epilog=_ANYWHERE, short_help="Load what is new, build, check and publish.")
def run(
    context: typer.Context,
    only: Annotated[
        Step | None, typer.Option("--only", help="Take this step alone.", show_default=False)
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build every day, whatever changed.")
    ] = False,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Ask the sources, load what is new, build, check and publish: the hourly job, once.

    With nothing new it says so and ends at once. While another run writes the warehouse it waits,
    at most the time of --wait, and then ends with 1.
    """
    from orchestration.warehouse.reading import has_news

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_RUN_INTERVAL)
    reason = f"--only {only.value}" if only else "--full-refresh"
    extracted = None
    if only is None:
        extracted = patience.try_until_free(lambda: _ask_sources(runtime, depth="hourly"))
    if only is None and not full_refresh:
        news = patience.try_until_free(lambda: has_news(runtime, record=True))
        if news is None:
            return _say_no_news(runtime, extracted)
        reason = news
    return _run(
        runtime,
        only,
        reason=reason,
        full_refresh=full_refresh,
        extracted=extracted,
        wait=patience.left,
    )


@app.command(epilog=_ANYWHERE, short_help="Make new usage visible: the five-minute job.")
def sync(
    context: typer.Context,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="5m")
    ] = None,
) -> int:
    """Load new usage, build the marts of its days, run the hard checks and publish.

    With nothing new it says so and ends at once. While another run writes the warehouse it waits,
    at most the time of --wait, and then ends with 1: the next one does its work.
    """
    from orchestration.warehouse.reading import has_sync_news

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_SYNC_INTERVAL)
    extracted = patience.try_until_free(lambda: _ask_sources(runtime, depth="sync"))
    reason = patience.try_until_free(lambda: has_sync_news(runtime))
    if reason is None:
        return _say_no_news(runtime, extracted)
    begun = monotonic()
    with terminal.Progress() as progress:
        progress(f"starting: {reason}")
        from orchestration.defs.run import run_sync

        outcome = run_sync(runtime, extracted=extracted, progress=progress, wait=patience.left)
    return _say_sync(runtime, outcome, seconds=monotonic() - begun)


def _say_sync(runtime: Runtime, outcome: RunOutcome, *, seconds: float) -> int:
    if outcome.exit_code == FAILED:
        _complain_of(runtime, outcome)
        return FAILED
    rows = outcome.load.total("rows_loaded") if outcome.load else 0
    what = f"published version {outcome.version}" if outcome.version else "published nothing"
    say(
        f"Tollbook {what} as of {terminal.moment(runtime.as_of)} in {seconds:.1f} s; "
        f"{rows:,} rows loaded."
    )
    for problem in outcome.problems:
        say(terminal.printable(problem))
    return outcome.exit_code


# A writer that finds another at work waits until its own next turn would come.
_RUN_INTERVAL, _SYNC_INTERVAL = timedelta(hours=1), timedelta(minutes=5)
_LOOK_SECONDS = 2.0


_Answer = TypeVar("_Answer")


class _Patience:
    """How long a command may still wait for another that writes the warehouse."""

    def __init__(self, text: str | None, *, default: timedelta) -> None:
        try:
            wait = default if text is None else read_duration(text)
        except ValueError as error:
            raise ConfigurationError(f"--wait: {error}") from error
        self._until = monotonic() + wait.total_seconds()

    @property
    def left(self) -> timedelta:
        return timedelta(seconds=round(max(0.0, self._until - monotonic())))

    def try_until_free(self, look: Callable[[], _Answer]) -> _Answer:
        """What `look` answers, asked again while the warehouse is busy.

        Raises:
            WarehouseBusyError: the time is up.
        """
        from orchestration.warehouse.connection import WarehouseBusyError

        with terminal.Progress() as progress:
            while True:
                try:
                    return look()
                except WarehouseBusyError as error:
                    if not self.left:
                        raise WarehouseBusyError(f"skipped: {error}") from error
                    progress("waiting for the run that is writing the warehouse")
                    sleep(min(_LOOK_SECONDS, self.left.total_seconds()))


def _ask_sources(runtime: Runtime, *, depth: str) -> ExtractReport | None:
    """What the sources with a connection gave; None where there is none of them.

    They are asked before anything heavy is imported: most of the time there is little news.
    """
    if not any(source.is_extracted for source in runtime.settings.sources):
        return None
    from orchestration.defs.steps import RunLog, Steps

    with terminal.Progress() as progress:
        started_at = datetime.now(UTC)
        run = f"extract-{started_at:%Y%m%dT%H%M%S%f}"
        steps = Steps(runtime=runtime, run=run, log=RunLog(), progress=progress)
        return steps.extract(depth=depth)


def _say_no_news(runtime: Runtime, extracted: ExtractReport | None) -> int:
    problems = extracted.problems if extracted else []
    for problem in problems:
        complain(f"tollbook: {terminal.printable(problem)}")
    _say_nothing_new(runtime)
    return FAILED if problems else DONE


def _say_nothing_new(runtime: Runtime) -> None:
    from orchestration.warehouse.reading import published_version

    found = published_version(runtime)
    version = f"; version {found[0]} of {terminal.moment(found[1])} stands" if found else ""
    say(f"Nothing new as of {terminal.moment(runtime.as_of)}{version}.")


def _run(
    runtime: Runtime,
    only: Step | None,
    *,
    reason: str,
    full_refresh: bool,
    extracted: ExtractReport | None,
    wait: timedelta,
) -> int:
    begun = monotonic()
    with terminal.Progress() as progress:
        progress(f"starting: {reason}")
        from orchestration.defs.run import run_pipeline

        outcome = run_pipeline(
            runtime,
            only=only.value if only else None,
            full_refresh=full_refresh,
            extracted=extracted,
            progress=progress,
            wait=wait,
        )
    seconds = monotonic() - begun
    if outcome.exit_code == FAILED:
        _complain_of(runtime, outcome)
        return FAILED
    _say_outcome(runtime, outcome, only=only, seconds=seconds)
    return outcome.exit_code


def _complain_of(runtime: Runtime, outcome: RunOutcome) -> None:
    for problem in outcome.problems:
        complain(f"tollbook: {terminal.printable(problem)}")
    complain(
        f"Nothing was published. Details: {runtime.home / 'checks' / 'index.html'}, "
        f"DAGSTER_HOME={runtime.home / 'dagster'} dagster dev"
    )


def _say_outcome(
    runtime: Runtime, outcome: RunOutcome, *, only: Step | None, seconds: float
) -> None:
    from orchestration.warehouse.reading import published_file, read_summary
    from orchestration.warehouse.transform import model_docs

    unread = outcome.extract.problems if outcome.extract else []
    for problem in unread:
        complain(f"tollbook: {terminal.printable(problem)}")
    refused_files = [each for each in outcome.problems if each not in unread]
    landed = terminal.extract_lines(outcome.extract)
    if outcome.version is None:
        what = f"step {only.value}" if only else "run"
        say(f"Tollbook {what} done in {seconds:.1f} s; nothing was published.")
        _say_all([*landed, *terminal.load_lines(outcome.load, refused_files)])
        return
    say(
        f"Tollbook published version {outcome.version} as of {terminal.moment(runtime.as_of)} "
        f"in {seconds:.1f} s."
    )
    _say_all(["", *landed, *terminal.load_lines(outcome.load, refused_files)])
    _say_all(terminal.summary_lines(read_summary(runtime)))
    refused = outcome.load is not None and (
        outcome.load.total("rows_quarantined")
        or any(batch.status == "rejected" for batch in outcome.load.batches)
    )
    _say_all(["", *terminal.step_lines(outcome.seconds, outcome.handled)])
    _say_all(
        terminal.next_lines(
            published=published_file(runtime),
            checks=runtime.home / "checks" / "index.html",
            docs=model_docs(runtime),
            has_refusals=bool(refused),
        )
    )


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


@app.command(epilog=_ANYWHERE, short_help="Show how sources, exceptions and checks stand.")
def status(
    context: typer.Context,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            "--fail-on",
            help="Exit with 1 while an exception that blocks a close is open.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Show how sources, exceptions, runs and checks stand, as published."""
    from orchestration.warehouse.reading import NotPublishedError, read_status

    try:
        found = read_status(context.obj.runtime())
    except NotPublishedError as error:
        say(str(error))
        return DONE
    _say_all(terminal.status_lines(found))
    return FAILED if fail_on is FailOn.blocking and found.blocking_exceptions else DONE


@app.command(epilog=_ANYWHERE, short_help="Try every source, folder and file a run needs.")
def doctor(context: typer.Context) -> int:
    """Try every source's credential and permissions, and all else a run needs; change nothing.

    Says of each how it stands and what to do. Exits with 1 when something fails; warnings do not.
    """
    from orchestration.warehouse.doctor import examine

    counts: Counter[str] = Counter()
    for finding in examine(context.obj.runtime()):
        counts[finding.verdict] += 1
        say(f"{finding.verdict:8} {finding.subject}: {terminal.printable(finding.text)}")
    say(", ".join(f"{each}: {counts[each]}" for each in ("failed", "warning", "ok")))
    return FAILED if counts["failed"] else DONE


@app.command(epilog=_ANYWHERE, short_help="Take one person out of everything Tollbook holds.")
def forget(
    context: typer.Context,
    person: Annotated[
        str,
        typer.Option("--user", metavar="ID", help="Id of a user, or of a gateway's end user."),
    ],
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Put `forgotten` in the place of a person's id, then build and publish; amounts stay.

    Changes landing, warehouse and quarantine, and removes earlier published versions. A salted
    hash of the id stays in landing, so that no later file brings the name back.
    """
    if not person.strip():
        raise ConfigurationError("--user: expected the id of a person behind it")
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.forget import ForgetReport, forget_person
    from orchestration.warehouse.schema import create_schema

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_RUN_INTERVAL)

    def change(progress: terminal.Progress) -> ForgetReport:
        with open_warehouse(runtime) as connection:
            create_schema(connection)
            return forget_person(connection, runtime, person, progress=progress)

    with terminal.Progress() as progress:
        report = patience.try_until_free(lambda: change(progress))
    say(
        f"Forgotten in {report.rows:,} loaded rows, {report.refused_rows:,} refused rows and "
        f"{report.files:,} landed files."
    )
    for name in report.unread:
        complain(f"tollbook: {name}: rejected, so never read; delete it if it names the person")
    return _run(
        runtime,
        None,
        reason="a person is to be forgotten",
        full_refresh=False,
        extracted=None,
        wait=patience.left,
    )


@app.command(epilog=_ANYWHERE, short_help="Apply the settings of `retention` now.")
def retention(
    context: typer.Context,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Take the detail out of old records and remove old landing files; amounts stay.

    A record older than `retention.detail` keeps time, key, owner, model, units and costs, and
    loses user, customer, session, trace, tags, address and agent. Logs of requests leave landing
    after `retention.landing`. Then builds and publishes what changed.
    """
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.retention import RetentionReport, apply_retention
    from orchestration.warehouse.schema import create_schema

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_RUN_INTERVAL)

    def change(progress: terminal.Progress) -> RetentionReport:
        with open_warehouse(runtime) as connection:
            create_schema(connection)
            return apply_retention(connection, runtime, progress=progress)

    with terminal.Progress() as progress:
        report = patience.try_until_free(lambda: change(progress))
    say(
        f"Detail before {report.detail_from:%Y-%m-%d}: gone from {report.rows:,} rows, "
        f"{report.refused_rows:,} refused rows and {report.files:,} landed files."
    )
    say(f"Landing before {report.landing_from:%Y-%m-%d}: {report.removed_files:,} files removed.")
    if not report.rows and not report.refused_rows:
        return DONE
    return _run(
        runtime,
        None,
        reason="old records lost their detail",
        full_refresh=False,
        extracted=None,
        wait=patience.left,
    )


@app.command(epilog=_ANYWHERE, short_help="Record what a reviewer decided.")
def decide(
    context: typer.Context,
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBJECT...",
            help="An exception_id or how it begins; <exception_type>/<account>/<YYYY-MM> for all "
            "of a month; or invoice/, invoice_line/, recharge/, dispute/, batch/, api_key/, "
            "period/ and the id.",
        ),
    ],
    decision: Annotated[
        str,
        typer.Option(
            "--decision",
            metavar="WORD",
            help="approve, cap, downgrade, reroute, split_key, change_quota, investigate, dispute, "
            "write_off or reject.",
        ),
    ],
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Who decides.")],
    ticket: Annotated[str, typer.Option("--ticket", metavar="ID", help="Where it is argued.")],
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="MONEY", help="Money it is about.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", metavar="CODE", help="Currency of --amount.")
    ] = None,
    valid_to: Annotated[
        str | None,
        typer.Option("--valid-to", metavar="DATE", help="First day it no longer holds for."),
    ] = None,
    related: Annotated[
        str | None,
        typer.Option(
            "--related",
            metavar="TYPE/ID",
            help="quota_alert/, recharge/, route_change/, budget/ or exception/ and the id.",
        ),
    ] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT")] = None,
) -> int:
    """Record a reviewer's decision about what is published, as a file in landing.

    approve, write_off and dispute settle an exception until its evidence changes; the others say
    what is done about it. The same command twice decides once. The next run applies it.
    """
    from orchestration.warehouse.decide import Ruling
    from orchestration.warehouse.decide import decide as land_decisions

    runtime: Runtime = context.obj.runtime()
    related_type, _, related_id = (related or "").partition("/")
    ruling = Ruling(
        decision=decision.strip().lower(),
        owner=owner.strip(),
        ticket=ticket.strip(),
        amount=_money(amount) if amount is not None else None,
        currency=currency.upper() if currency else None,
        valid_to_date=_day(valid_to) if valid_to is not None else None,
        related_type=related_type or None,
        related_id=related_id or None,
        note=note,
    )
    report = land_decisions(runtime, subjects, ruling)
    _say_all(terminal.decision_lines(report, decision=ruling.decision))
    if report.path is not None:
        say(f"wrote    {_short(report.path)}")
        say("next     tollbook run")
    return DONE


def _money(text: str) -> Decimal:
    from orchestration.core.refusals import RefusedError
    from orchestration.core.values import read_signed_money

    try:
        return read_signed_money(text, "amount")[0]
    except RefusedError as error:
        raise ConfigurationError(f"--amount: {error.refusal.reason}") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--valid-to {text}: expected a date such as 2026-12-31"
        ) from error


@app.command(epilog=_ANYWHERE, short_help="Sign a month off: freeze it and write its packet.")
def close(
    context: typer.Context,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-10.")],
    reviewer: Annotated[str, typer.Option("--reviewer", metavar="NAME", help="Who signs it off.")],
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="ID", help="Only this account. [all that have it open]"),
    ] = None,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Freeze a month and write its packet to HOME/packets/<account>/<month>.

    First runs what is due. Refuses, naming them, while exceptions that block the month are open;
    `tollbook decide` settles them. Months of an account close in order. What comes later is charged
    in the open month, and the closed one stays as it is.
    """
    from orchestration.warehouse.close import CloseRefusedError, close_periods, read_month
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.reading import has_news

    runtime: Runtime = context.obj.runtime()
    read_month(month)
    if not reviewer.strip():
        raise ConfigurationError("--reviewer: expected the name of whoever signs off")
    patience = _Patience(wait, default=_RUN_INTERVAL)
    news = patience.try_until_free(lambda: has_news(runtime))
    if news is not None and not _ran(runtime, reason=news, wait=patience.left):
        return FAILED

    def freeze(progress: terminal.Progress) -> list[Closed]:
        with open_warehouse(runtime) as connection:
            return close_periods(
                connection,
                runtime,
                month=month,
                reviewer=reviewer.strip(),
                account=account,
                progress=progress,
            )

    try:
        with terminal.Progress() as progress:
            closed = patience.try_until_free(lambda: freeze(progress))
    except CloseRefusedError as error:
        for line in terminal.refusal_lines(error.refusals):
            complain(line)
        return FAILED
    if not _ran(runtime, reason=f"{month} is closed", wait=patience.left):
        return FAILED
    for each in closed:
        _say_all(terminal.closed_lines(each, short=_short))
    return DONE


def _ran(runtime: Runtime, *, reason: str, wait: timedelta) -> bool:
    """Run the hourly job without its summary; whether it published."""
    with terminal.Progress() as progress:
        progress(f"starting: {reason}")
        from orchestration.defs.run import run_pipeline

        outcome = run_pipeline(runtime, progress=progress, wait=wait)
    if outcome.exit_code == FAILED:
        _complain_of(runtime, outcome)
    return outcome.exit_code != FAILED


@app.command(epilog=_ANYWHERE, short_help="Recompute every hash and total of a packet.")
def verify(
    packet: Annotated[
        Path, typer.Argument(metavar="PACKET", help="The folder of a packet.", show_default=False)
    ],
) -> int:
    """Recompute every hash and every total of a packet from its own files.

    Needs nothing but the folder. A changed, missing or added file is named, and the exit code is 1.
    """
    from orchestration.warehouse.packet_check import verify_packet

    if not packet.is_dir():
        raise ConfigurationError(f"{packet}: no folder; name that of a packet")
    verdict = verify_packet(packet)
    for problem in verdict.problems:
        complain(f"tollbook: {packet.name}/{terminal.printable(problem)}")
    if verdict.problems:
        return FAILED
    _say_all(terminal.verdict_lines(verdict))
    return DONE


class StatementKind(StrEnum):
    """What `statement` issues."""

    statement = "statement"
    receipt = "receipt"
    proforma = "proforma"
    statutory = "statutory"


@app.command(epilog=_ANYWHERE, short_help="Issue a month's statement, receipt or invoice.")
def statement(
    context: typer.Context,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-10.")],
    account: Annotated[str, typer.Option("--account", metavar="ID", help="Whose month it is.")],
    kind: Annotated[
        StatementKind, typer.Option("--kind", help="receipt: of payments; statutory: of a close.")
    ] = StatementKind.statement,
    team: Annotated[
        str | None, typer.Option("--team", metavar="ID", help="Only what this team bears.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", metavar="CODE", help="Where there are several.")
    ] = None,
    tax_rate: Annotated[
        str | None, typer.Option("--tax-rate", metavar="SHARE", help="Such as 0.19. [none stated]")
    ] = None,
) -> int:
    """Issue a document as PDF and CSV in HOME/statements/<account>, numbered without gaps.

    The same figures give the same number and the same bytes again; other figures give a new number
    that supersedes the former. marts.statements lists them with the next run.
    """
    from orchestration.warehouse.close import read_month
    from orchestration.warehouse.statements import Request, issue_statement

    runtime: Runtime = context.obj.runtime()
    done = issue_statement(
        runtime,
        Request(
            month=read_month(month),
            account=account,
            kind=kind.value,
            team=team,
            currency=currency.upper() if currency else None,
            tax_rate=_share(tax_rate) if tax_rate is not None else None,
        ),
    )
    word = "issued" if done.is_new else "again"
    instead = f", in place of {done.supersedes}" if done.is_new and done.supersedes else ""
    say(f"{word:8} {done.number}: {terminal.money(done.total)} {done.currency}{instead}")
    say(f"pdf      {_short(done.pdf)}")
    say(f"csv      {_short(done.csv)}")
    return DONE


def _share(text: str) -> Decimal:
    try:
        share = Decimal(text)
    except ArithmeticError as error:
        raise ConfigurationError(f"--tax-rate {text}: write a share such as 0.19") from error
    if not 0 <= share < 1:
        raise ConfigurationError(f"--tax-rate {text}: write a share from 0 to 1, such as 0.19")
    return share


@app.command(epilog=_ANYWHERE, short_help="What a month would have cost at other prices.")
def rerate(
    context: typer.Context,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-10.")],
    prices: Annotated[
        str,
        typer.Option(
            "--prices",
            metavar="ID",
            help="A catalog (litellm), the same at a day (litellm@2026-09-25), or a snapshot.",
        ),
    ],
    account: Annotated[
        str | None, typer.Option("--account", metavar="ID", help="Only this account.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="table, csv or json.")] = Format.table,
    is_raw: Annotated[
        bool, typer.Option("--raw", help="CSV: leave text as it is that looks like a formula.")
    ] = False,
) -> int:
    """Show a month's usage at its own list prices and at others; no fact is changed.

    What has no price among the others is counted and in neither amount.
    """
    from orchestration.warehouse.close import read_month
    from orchestration.warehouse.rerate import COLUMNS
    from orchestration.warehouse.rerate import rerate as rerate_month

    if form is Format.parquet:
        raise ConfigurationError("--format parquet: rerate answers as table, csv or json")
    catalog, found = rerate_month(
        context.obj.runtime(), month=read_month(month), prices=prices, account=account
    )
    rows = [each.row for each in found]
    if form is Format.csv:
        terminal.write_csv(COLUMNS, rows, sys.stdout, is_raw=is_raw)
    elif form is Format.json:
        terminal.write_json(COLUMNS, rows, sys.stdout)
    else:
        as_of = "now" if catalog.at.year == _OPEN_YEAR else terminal.moment(catalog.at)
        say(f"{month} at the prices of {terminal.printable(catalog.source)} as of {as_of}")
        terminal.write_table(COLUMNS, rows, sys.stdout)
    return DONE


@app.command(epilog=_ANYWHERE, short_help="Build the warehouse anew from landing alone.")
def rebuild(
    context: typer.Context,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Load everything in landing into a new warehouse, and say whether every mart is as before.

    Readers keep the published version meanwhile. The old warehouse comes back if the run fails,
    and stays beside the new one, as .before-rebuild, if a mart differs (exit code 1).
    """
    from orchestration.warehouse.backup import set_aside
    from orchestration.warehouse.reading import has_news

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_RUN_INTERVAL)
    if runtime.database.is_file():
        news = patience.try_until_free(lambda: has_news(runtime))
        if news is not None and not _ran(runtime, reason=news, wait=patience.left):
            return FAILED
    before = patience.try_until_free(lambda: set_aside(runtime))
    runtime = replace(runtime, as_of=before.as_of or runtime.as_of)
    try:
        is_built = _ran(runtime, reason="everything from landing", wait=patience.left)
    except BaseException:
        before.restore(runtime)
        raise
    if not is_built:
        before.restore(runtime)
        complain("tollbook: the warehouse is as it was before")
        return FAILED
    if _differs(runtime, before.digests):
        complain(f"tollbook: the earlier warehouse stays as {before.database}")
        return FAILED
    before.remove()
    return DONE


def _differs(runtime: Runtime, before: Mapping[str, str]) -> bool:
    """Whether a mart is not as it was; said in either case."""
    from orchestration.warehouse.backup import differing_marts, mart_digests
    from orchestration.warehouse.connection import open_warehouse

    with open_warehouse(runtime) as connection:
        after = mart_digests(connection)
    different = differing_marts(before, after)
    for name in different:
        complain(
            f"tollbook: marts.{name} differs: {before.get(name, 'not there')} before, "
            f"{after.get(name, 'not there')} now"
        )
    if not different:
        say(f"rebuilt  {len(after)} marts, each identical to what it was")
    return bool(different)


@app.command(epilog=_ANYWHERE, short_help="Copy all that cannot be built anew.")
def backup(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder.", show_default=False)
    ],
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help=_WAIT_HELP, show_default="1h")
    ] = None,
) -> int:
    """Copy landing, packets, statements, seeds and tollbook.yml, with the sha256 of every file.

    First runs what is due.
    backup.json also has a digest of every mart, by which `tollbook restore` proves itself. Secrets
    are in no file: tollbook.yml names variables.
    """
    from orchestration.warehouse.backup import write_backup
    from orchestration.warehouse.reading import has_news

    runtime: Runtime = context.obj.runtime()
    patience = _Patience(wait, default=_RUN_INTERVAL)
    news = patience.try_until_free(lambda: has_news(runtime))
    # What lies in landing and is not built yet would make the restored marts others.
    if news is not None and not _ran(runtime, reason=news, wait=patience.left):
        return FAILED
    with terminal.Progress() as progress:
        done = patience.try_until_free(lambda: write_backup(runtime, folder, progress=progress))
    say(f"backup   {folder}: {done.files:,} files, {done.size:,} bytes, {len(done.digests)} marts")
    say(f"next     tollbook restore {folder} --home DIR")
    return DONE


@app.command(epilog=_ANYWHERE, short_help="Build a home from a backup, and prove it.")
def restore(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a backup.", show_default=False)
    ],
) -> int:
    """Check every hash of a backup, copy it into an empty home, and build and publish it.

    Says whether every mart is as it was (exit code 1 if not). tollbook.yml and seeds are taken
    from the backup where there are none.
    """
    from orchestration.warehouse.backup import read_backup, restore_files, restore_settings

    options: Options = context.obj
    found = read_backup(folder)
    written = restore_settings(found, config_path(options.config))
    runtime = options.runtime()
    if found.as_of is not None and options.as_of is None:
        runtime = replace(runtime, as_of=found.as_of)
    with terminal.Progress() as progress:
        written += restore_files(found, runtime, progress=progress)
    for path in written:
        say(f"wrote    {_short(path)}")
    if not _ran(runtime, reason="everything from landing", wait=timedelta(0)):
        return FAILED
    return FAILED if _differs(runtime, found.digests) else DONE


@app.command(epilog=_ANYWHERE)
def query(
    context: typer.Context,
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="One query, such as: from marts.daily_spend")
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="table cuts long text and many rows; the others do not."),
    ] = Format.table,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there; parquet needs it."),
    ] = None,
    is_raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="CSV: leave text as it is that a spreadsheet takes for a formula."
        ),
    ] = False,
) -> int:
    """Ask the published warehouse in SQL; read-only.

    Amounts are exact: decimals in full in csv, as text in json, as decimals in parquet.
    Times are UTC.

    In csv a text that a spreadsheet would take for a formula gets a ' in front.
    """
    from orchestration.warehouse.reading import answer

    runtime = context.obj.runtime()
    if form is Format.parquet and output is None:
        raise ConfigurationError("--format parquet: add --output FILE to write it to")
    with answer(runtime, sql) as found:
        if output is not None:
            rows = _write_file(found, form, output, is_raw=is_raw)
            say(f"{rows:,} rows in {output}")
            return DONE
        try:
            _write_rows(found, form, sys.stdout, is_raw=is_raw)
        except BrokenPipeError as error:
            raise terminal.ReaderGoneError from error
    return DONE


def _write_file(found: Answer, form: Format, path: Path, *, is_raw: bool) -> int:
    """Write beside the file's name and move it there when it is whole; rows written."""
    part = path.with_name(path.name + ".part")
    try:
        if form is Format.parquet:
            rows = found.write_parquet(part)
        else:
            with part.open("w", encoding="utf-8", newline="") as stream:
                rows = _write_rows(found, form, stream, is_raw=is_raw)
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"--output {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _write_rows(found: Answer, form: Format, stream: TextIO, *, is_raw: bool) -> int:
    columns, rows = found.fetch()
    if form is Format.csv:
        return terminal.write_csv(columns, rows, stream, is_raw=is_raw)
    if form is Format.json:
        return terminal.write_json(columns, rows, stream)
    return terminal.write_table(columns, rows, stream)


# ---------------------------------------------------------------- quarantine


@quarantine.callback(invoke_without_command=True)
def quarantine_group(context: typer.Context) -> None:
    """See what was refused and why, and give it another try."""
    _help_without_command(context)


@quarantine.command("list", epilog=_ANYWHERE)
def quarantine_list(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="Only of this source.")
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="CODE", help="Only with this reason code.")
    ] = None,
) -> None:
    """List rejected files and refused rows, by file and reason."""
    from orchestration.warehouse.reading import list_refused, open_quarantine, published_version

    runtime = context.obj.runtime()
    with open_quarantine(runtime) as connection:
        files, rows = list_refused(connection, source=source, code=code)
    _say_all(terminal.refused_lines(files, rows, published=published_version(runtime)))


@quarantine.command("show", epilog=_ANYWHERE)
def quarantine_show(
    context: typer.Context,
    batch: Annotated[
        str, typer.Argument(metavar="BATCH", help="Id of the load batch, or how it begins.")
    ],
    line: Annotated[int | None, typer.Argument(metavar="[LINE]", help="Only this line.")] = None,
) -> None:
    """Show the refused rows of one file with the fields that were kept of them."""
    from orchestration.warehouse.reading import find_refused, open_quarantine

    with open_quarantine(context.obj.runtime()) as connection:
        found, rows = find_refused(connection, batch, line)
    _say_all(terminal.refused_batch_lines(found, rows))


@quarantine.command("retry", epilog=_ANYWHERE)
def quarantine_retry(
    context: typer.Context,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="ID", help="Only this load batch, or how its id begins."),
    ] = None,
) -> None:
    """Read refused rows again by the settings and the clock of now, and free rejected files.

    Rows that pass move into the warehouse; `tollbook run` then builds and publishes them. A
    rejected file is read again by that run.
    """
    runtime = context.obj.runtime()
    if not runtime.database.is_file():
        raise ConfigurationError(
            f"{runtime.database}: nothing was loaded yet; `tollbook run` loads what lies in landing"
        )
    from orchestration.warehouse.connection import open_warehouse
    from orchestration.warehouse.reading import find_refused
    from orchestration.warehouse.retry import retry_quarantine

    with terminal.Progress() as progress, open_warehouse(runtime) as connection:
        batch_id = find_refused(connection, batch)[0].load_batch_id if batch else None
        report = retry_quarantine(connection, runtime, batch_id=batch_id, progress=progress)
    _say_all(terminal.retry_lines(report))


# ---------------------------------------------------------------- init

_ROOT = Path(__file__).resolve().parents[1]
_TEMPLATES = Path(__file__).resolve().parent / "templates"
_LANDING = ("litellm_files", "price_catalog", "gateway_counts", "app_requests")


@app.command(epilog=_ANYWHERE, short_help="Write a commented tollbook.yml and seeds.")
def init(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to write; created if absent.")
    ] = Path(),
) -> None:
    """Write a commented tollbook.yml, sample seeds and landing folders; change nothing."""
    home = (context.obj.home or folder / "data").absolute()
    targets = {folder / "tollbook.yml": _ROOT / "tollbook.example.yml"}
    for seed in sorted((_TEMPLATES / "seeds").glob("*.csv")):
        targets[folder / "seeds" / seed.name] = seed
    targets[home / ".gitignore"] = _TEMPLATES / "home.gitignore"
    try:
        kept = [target for target, source in targets.items() if not _write_new(target, source)]
        for source in _LANDING:
            (home / "landing" / source).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"init {folder}: cannot write {error.filename} ({error.strerror}); name another DIR"
        ) from error
    for target in kept:
        say(f"kept     {target}")
    say(f"wrote    {len(targets) - len(kept)} of {len(targets)} files in {folder.absolute()}")
    config = "" if folder == Path() else f" --config {folder / 'tollbook.yml'}"
    where = "" if home == Path("data").absolute() else f" --home {_short(home)}"
    say(f"next     drop files into {_short(home / 'landing')}/<source>/, then")
    say(f"         tollbook run{config}{where}")


def _write_new(target: Path, source: Path) -> bool:
    """Whether the file was written; one that is there already stays as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as stream:
            stream.write(source.read_bytes())
    except FileExistsError:
        return False
    return True


def _short(path: Path) -> Path:
    """The path from here where it lies below, as people would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# ---------------------------------------------------------------- what goes wrong


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Whatever goes wrong is said in one line."""
    options = Options()
    try:
        options, rest = take_options(arguments)
        code = app(args=rest, obj=options, prog_name="tollbook", standalone_mode=False)
        sys.stdout.flush()
    except (terminal.ReaderGoneError, BrokenPipeError):
        # Whoever read our output has seen enough, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # No traceback reaches a user.
        if options.is_debug:
            traceback.print_exception(error)
        return _explain(error, options, arguments)
    if code == INTERRUPTED:
        complain("tollbook: stopped; readers keep the last published version")
    return code if isinstance(code, int) else DONE


def _explain(error: Exception, options: Options, arguments: Sequence[str]) -> int:
    if isinstance(error, typer.TyperException):
        usage = getattr(getattr(error, "ctx", None), "command_path", "tollbook")
        complain(f"tollbook: {_one_line(error.format_message())} (see {usage} --help)")
        return WRONG_USE
    code = _expected_code(error)
    if code is not None:
        complain(f"tollbook: {_one_line(error)}")
        return code
    command = next((each for each in arguments if each.isalpha()), "")
    what = f"{type(error).__name__}: {_one_line(error)}"
    complain(f"tollbook {command}: {what}; details: {_write_details(error, options)}")
    return FAILED


def _expected_code(error: Exception) -> int | None:
    """The exit code of an error whose message says everything; None for any other."""
    if isinstance(error, ConfigurationError):
        return WRONG_USE
    from orchestration.warehouse.backup import BackupDamagedError
    from orchestration.warehouse.connection import WarehouseBusyError
    from orchestration.warehouse.reading import NotPublishedError, QueryRefusedError
    from orchestration.warehouse.transform import BuildFailedError

    if isinstance(error, NotPublishedError | QueryRefusedError):
        return WRONG_USE
    failures = WarehouseBusyError | BuildFailedError | BackupDamagedError
    return FAILED if isinstance(error, failures) else None


def _one_line(message: object) -> str:
    text = without_secrets(" ".join(str(message).split()))
    return terminal.shortened(terminal.printable(text), 1000)


def _write_details(error: Exception, options: Options) -> Path:
    """The traceback in a file below the home folder, or a temporary one where that fails."""
    text = without_secrets("".join(traceback.format_exception(error)))
    name = f"failed-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.txt"
    try:
        folder = options.runtime().home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text, encoding="utf-8")
    except (ConfigurationError, OSError):
        path = Path(tempfile.mkdtemp(prefix="tollbook-")) / name
        path.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    """The program: runs the command line it was started with, and exits."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets its escape, not an error.
            stream.reconfigure(errors="backslashreplace")
    _collect_rarely()
    _leave(invoke(sys.argv[1:]))


def _collect_rarely() -> None:
    """Let Python look for garbage once in a million objects.

    By default it looks a thousand times while Dagster, dbt and Great Expectations are imported,
    which make half a million objects and no garbage: a quarter of the time they take.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS, 10, 10)


_OBJECTS_BETWEEN_LOOKS = 1_000_000


def _leave(code: int) -> NoReturn:
    """End the process at once where so much is imported that taking it down lasts for seconds.

    Everything written is closed by then; what others hung on the end of the process still runs.
    """
    if "dagster" not in sys.modules:
        sys.exit(code)
    # As the interpreter does it: threads first, as some only end when they are told to.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or FAILED
    os._exit(code)
