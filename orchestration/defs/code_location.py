"""All definitions of one home, put together."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from orchestration.config import Runtime
from orchestration.defs.assets import (
    LEDGER_KEYS,
    extract_assets,
    landing_specs,
    load_asset,
    model_assets,
    publish_asset,
)
from orchestration.defs.checks import warehouse_checks
from orchestration.defs.jobs import hourly_schedule, jobs
from orchestration.defs.resources import Tollbook
from orchestration.defs.sync import (
    every_three_minutes,
    every_week,
    landing_sensor,
    month_end_review,
    rebuild_days_job,
    retention_job,
    review_job,
    sync_job,
    weekly_review,
)
from orchestration.warehouse.transform import ensure_manifest

# Layers that readers get; what lies above them is the pipeline's own.
_PUBLISHED_LAYERS = frozenset({"marts", "exports", "reference"})


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """The definitions and the resource they are bound to."""

    definitions: dg.Definitions
    tollbook: Tollbook


def build_code_location(runtime: Runtime, tollbook: Tollbook) -> CodeLocation:
    """Assets, checks, jobs, schedules and the sensor for the sources of one tollbook.yml."""
    models = model_assets(ensure_manifest(runtime))
    extracts = extract_assets(runtime)
    checks = warehouse_checks(models)
    published_from = [key for key in models.keys if key.path[0] in _PUBLISHED_LAYERS]
    # The ledger is published as it is.
    published_from += LEDGER_KEYS
    definitions = dg.Definitions(
        assets=[
            *landing_specs(runtime),
            *extracts,
            load_asset(runtime),
            models,
            publish_asset(published_from),
        ],
        asset_checks=[checks],
        jobs=[
            *jobs(models, checks, extracts),
            sync_job,
            rebuild_days_job,
            retention_job,
            review_job,
        ],
        schedules=[
            hourly_schedule(),
            every_three_minutes,
            every_week,
            weekly_review(runtime.settings.reporting.week_starts),
            month_end_review,
        ],
        sensors=[landing_sensor(runtime)],
        resources={"tollbook": tollbook},
        executor=dg.in_process_executor,
    )
    return CodeLocation(definitions=definitions, tollbook=tollbook)
