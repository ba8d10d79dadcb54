"""Jobs and schedules: the hourly run, and each of its steps alone."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from orchestration.defs.assets import LEDGER_KEYS, PUBLISHED, RAW_KEYS

HOURLY = "hourly"
_LOADED = dg.AssetSelection.assets(*RAW_KEYS, *LEDGER_KEYS)
_PUBLISHED = dg.AssetSelection.assets(PUBLISHED)


def jobs(
    models: dg.AssetsDefinition,
    checks: dg.AssetChecksDefinition,
    extracts: Sequence[dg.AssetsDefinition],
) -> list[dg.UnresolvedAssetJobDefinition]:
    """One job for the hourly run, and one for each step alone."""
    checked = dg.AssetSelection.checks(checks)
    # The data tests belong to the build; the check step's checks of these assets do not.
    built = dg.AssetSelection.assets(models) - checked
    whole = _LOADED | built | checked | _PUBLISHED
    alone = []
    if extracts:
        asked = dg.AssetSelection.assets(*extracts)
        whole |= asked
        alone.append(_job("extract", asked, "Ask every source with a connection."))
    return [
        _job(HOURLY, whole, "Extract, load, build, check and publish."),
        *alone,
        _job("load", _LOADED.without_checks(), "Load new landed files."),
        _job("build", built, "Build the models for what changed."),
        _job("check", checked, "Run the hard checks and the expectations."),
        _job("publish", _PUBLISHED, "Publish the snapshot."),
    ]


def _job(
    name: str, selection: dg.AssetSelection, description: str
) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        # One process: the warehouse has one writer, and every further process imports for seconds.
        executor_def=dg.in_process_executor,
    )


def hourly_schedule() -> dg.ScheduleDefinition:
    """Five minutes past every hour, when the hour's last records have been flushed."""
    return dg.ScheduleDefinition(name="every_hour", job_name=HOURLY, cron_schedule="5 * * * *")
