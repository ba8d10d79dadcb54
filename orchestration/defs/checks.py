"""The check step as asset checks: invariants between layers, then Great Expectations."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from orchestration.defs.assets import WAREHOUSE_POOL
from orchestration.defs.resources import Tollbook
from orchestration.defs.steps import refuse_failed_checks
from orchestration.warehouse.expectation_suites import suites
from orchestration.warehouse.invariants import INVARIANTS


def check_names() -> dict[str, tuple[str, str, str]]:
    """Every check: name to (table, severity, description)."""
    named = {each.name: (each.table, "hard", each.description) for each in INVARIANTS}
    for suite in suites(as_of=datetime(2026, 1, 1, tzinfo=UTC)):
        for check in suite.checks:
            named[slug(check.name)] = (suite.table, check.severity, check.meaning)
    return named


def slug(sentence: str) -> str:
    """A check's sentence as a name Dagster accepts."""
    return re.sub(r"[^A-Za-z0-9]+", "_", sentence).strip("_").lower()


def asset_of(table: str) -> dg.AssetKey:
    """The asset of a table written schema.table."""
    return dg.AssetKey(table.split("."))


def warehouse_checks(models: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """All checks of the check step, which the publish step waits for.

    Dagster lets a blocking check hold back what lies behind its asset, and the models are one
    step: only checks of models that no other model reads can block. They put the publish step
    behind this one; that step refuses to publish while any hard check failed.
    """
    read_by_models = {key for keys in models.asset_deps.values() for key in keys}
    last_models = set(models.keys) - read_by_models
    specs = [
        dg.AssetCheckSpec(
            name=name,
            asset=asset_of(table),
            description=description,
            blocking=severity == "hard" and asset_of(table) in last_models,
        )
        for name, (table, severity, description) in check_names().items()
    ]

    @dg.multi_asset_check(name="check_warehouse", specs=specs, pool=WAREHOUSE_POOL)
    def check_warehouse(
        context: dg.AssetCheckExecutionContext, tollbook: Tollbook
    ) -> Iterator[dg.AssetCheckResult]:
        steps = tollbook.steps(context)
        page = str(steps.runtime.home / "checks" / "index.html")
        results = steps.check()
        for result in results:
            yield dg.AssetCheckResult(
                asset_key=asset_of(result.table),
                check_name=slug(result.check),
                passed=result.passed,
                severity=_severity(result.severity),
                metadata={
                    "failing_rows": result.failing_rows,
                    "amount_at_stake": str(result.amount_at_stake),
                    "failing_keys": ", ".join(result.failing_keys),
                    "page": dg.MetadataValue.path(page),
                },
            )
        # Behind the results, so that they are recorded: the run fails, also one of this step alone.
        refuse_failed_checks(results)

    return check_warehouse


def _severity(severity: str) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if severity == "hard" else dg.AssetCheckSeverity.WARN
