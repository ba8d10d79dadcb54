"""The jobs beside the hourly one: sync, days built again, retention, reviews; their starts."""

import dagster as dg

from orchestration.config import Runtime
from orchestration.defs.assets import PUBLISHED, WAREHOUSE_POOL
from orchestration.defs.jobs import HOURLY
from orchestration.defs.resources import Tollbook
from orchestration.defs.steps import refuse_failed_checks
from orchestration.warehouse.reviews import MONTH_END, WEEKLY, due_reviews

SYNC, REBUILD_DAYS, RETENTION, REVIEW = "sync", "rebuild_days", "retention", "review"
SENSOR_SECONDS = 60
# Lines of a review that are shown; marts.reviews has all.
_TOLD = 50


@dg.op(pool=WAREHOUSE_POOL)
def sync_usage(context: dg.OpExecutionContext, tollbook: Tollbook) -> None:
    """Make new usage visible: extract, load, the marts of its days, hard checks, publish."""
    steps = tollbook.steps(context)
    steps.extract(depth="sync")
    publication = steps.sync()
    if publication is None:
        context.log.info(steps.log.problems[-1])
    else:
        _record(context, steps.log.changed, publication.version)


@dg.op(
    pool=WAREHOUSE_POOL,
    config_schema={
        "first_day": dg.Field(str, description="First UTC day to build, YYYY-MM-DD."),
        "last_day": dg.Field(str, description="Last UTC day to build, that day included."),
    },
)
def rebuild_these_days(context: dg.OpExecutionContext, tollbook: Tollbook) -> None:
    """Build the marts of these days again from raw, check and publish them."""
    steps = tollbook.steps(context)
    steps.touch_days(context.op_config["first_day"], context.op_config["last_day"])
    steps.build()
    refuse_failed_checks(steps.check())
    _record(context, steps.log.changed, steps.publish().version)


@dg.op(pool=WAREHOUSE_POOL)
def retain_by_settings(context: dg.OpExecutionContext, tollbook: Tollbook) -> None:
    """Take the detail out of old records, remove old landed logs, publish what changed."""
    steps = tollbook.steps(context)
    report = steps.retain()
    context.log.info(f"{report.rows} rows without detail, {report.removed_files} files removed")
    if report.rows or report.refused_rows:
        steps.build()
        refuse_failed_checks(steps.check())
        _record(context, steps.log.changed, steps.publish().version)


@dg.op(
    config_schema={
        "kind": dg.Field(str, default_value=WEEKLY, description="weekly or month_end."),
    },
)
def tell_reviews(context: dg.OpExecutionContext, tollbook: Tollbook) -> None:
    """Name what a review has to look at; marts.reviews has the rows, decisions end them."""
    found = due_reviews(tollbook.runtime(), context.op_config["kind"])
    lines = [f"- {account}, {due}: {event}" for account, due, _, event in found]
    context.log.info("\n".join([f"{len(found)} reviews are due", *lines[:_TOLD]]))
    context.log_event(
        dg.AssetMaterialization(
            dg.AssetKey(["marts", "reviews"]),
            metadata={"due": len(found), "what": dg.MetadataValue.md("\n".join(lines[:_TOLD]))},
        )
    )


def _record(context: dg.OpExecutionContext, tables: list[str], version: int) -> None:
    """Show in the catalogue what was written, as the hourly run does."""
    for table in tables:
        context.log_event(dg.AssetMaterialization(dg.AssetKey(table.split("."))))
    context.log_event(dg.AssetMaterialization(PUBLISHED, metadata={"version": version}))


@dg.job(name=SYNC, executor_def=dg.in_process_executor)
def sync_job() -> None:
    """New usage, visible within five minutes."""
    sync_usage()


@dg.job(name=REBUILD_DAYS, executor_def=dg.in_process_executor)
def rebuild_days_job() -> None:
    """Some days, built again: launch it with their first and last day."""
    rebuild_these_days()


@dg.job(name=RETENTION, executor_def=dg.in_process_executor)
def retention_job() -> None:
    """Old records without their detail, old landed logs gone: `retention` of tollbook.yml."""
    retain_by_settings()


@dg.job(name=REVIEW, executor_def=dg.in_process_executor)
def review_job() -> None:
    """What finance has to look at: the week's light review, or the months to be closed."""
    tell_reviews()


def _review(kind: str) -> dict[str, object]:
    return {"ops": {"tell_reviews": {"config": {"kind": kind}}}}


def weekly_review(week_starts: str) -> dg.ScheduleDefinition:
    """The light review on the morning a new week begins, on `reporting.week_starts`."""
    return dg.ScheduleDefinition(
        name="weekly_review",
        job=review_job,
        cron_schedule=f"0 6 * * {week_starts[:3].upper()}",
        run_config=_review(WEEKLY),
    )


# Logs of a month's last day are complete by its second.
month_end_review = dg.ScheduleDefinition(
    name="month_end_review",
    job=review_job,
    cron_schedule="0 6 2 * *",
    run_config=_review(MONTH_END),
)
every_week = dg.ScheduleDefinition(
    name="every_week", job=retention_job, cron_schedule="35 3 * * SUN"
)


@dg.schedule(job=sync_job, cron_schedule="*/3 * * * *", name="every_three_minutes")
def every_three_minutes(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Every three minutes, unless the sync before is still at work or waits for its turn.

    What is written just after a sync has asked is visible when the next one ends: three minutes and
    its own time later, and within the five that are promised.
    """
    unfinished = dg.RunsFilter(
        job_name=SYNC,
        statuses=[
            dg.DagsterRunStatus.QUEUED,
            dg.DagsterRunStatus.NOT_STARTED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
        ],
    )
    waiting = context.instance.get_runs(filters=unfinished, limit=1)
    if waiting:
        return dg.SkipReason(f"run {waiting[0].run_id} of the interval before has not ended")
    return dg.RunRequest()


def landing_sensor(runtime: Runtime) -> dg.SensorDefinition:
    """Starts the hourly job when somebody has put a file into the landing folder."""

    @dg.sensor(name="landing_folder", job_name=HOURLY, minimum_interval_seconds=SENSOR_SECONDS)
    def landing_folder() -> dg.RunRequest | dg.SkipReason:
        from orchestration.warehouse.connection import WarehouseBusyError
        from orchestration.warehouse.reading import new_files

        try:
            files = new_files(runtime)
        except WarehouseBusyError as error:
            return dg.SkipReason(str(error))
        if not files:
            return dg.SkipReason("nothing new in the landing folder")
        # The same files start one run: what could not be read then is read by a later one.
        return dg.RunRequest(run_key="|".join(files)[:2000])

    return landing_folder
