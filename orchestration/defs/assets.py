"""The pipeline as assets: landing, raw, the dbt models, and what is published."""

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from orchestration.config import Runtime, SourceSettings
from orchestration.defs.resources import Tollbook
from orchestration.landing.extract import pulled_sources
from orchestration.landing.kinds import OBSERVED_KINDS, PRICE_CATALOG, ROW_KINDS
from orchestration.warehouse.schema import OBSERVATIONS, PRICE_ENTRIES, PRICE_POINTS
from orchestration.warehouse.transform import CI_TAG, NodeResult

# Everything that writes the warehouse shares one slot: DuckDB has one writer.
WAREHOUSE_POOL = "warehouse"
PUBLISHED = dg.AssetKey(["published", "tollbook"])


def _raw_keys() -> dict[dg.AssetKey, tuple[str, ...]]:
    """The file kinds that fill each table of raw."""
    kinds: dict[str, tuple[str, ...]] = {
        PRICE_ENTRIES.name: (PRICE_CATALOG,),
        PRICE_POINTS.name: (PRICE_CATALOG,),
        OBSERVATIONS.name: tuple(sorted(OBSERVED_KINDS)),
    }
    for kind in ROW_KINDS.values():
        tables = [each.name for each in (kind.table, *kind.children)]
        tables += [kind.table.contested] if kind.table.contested else []
        for table in tables:
            kinds[table] = (*kinds.get(table, ()), kind.name)
    return {dg.AssetKey(["raw", table]): names for table, names in kinds.items()}


RAW_KEYS = _raw_keys()
LEDGER_KEYS = (
    dg.AssetKey(["audit", "load_batches"]),
    dg.AssetKey(["audit", "row_flags"]),
    dg.AssetKey(["audit", "quarantine"]),
    dg.AssetKey(["audit", "refused_invoices"]),
    dg.AssetKey(["audit", "extract_gaps"]),
    dg.AssetKey(["reference", "sources"]),
    dg.AssetKey(["reference", "refused_seed_rows"]),
)


class ModelTranslator(DagsterDbtTranslator):
    """dbt models keep their schema as the first part of their key, and as their group."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """`staging/stg_...`, `marts/daily_spend`; sources as their YAML says."""
        if dbt_resource_props["resource_type"] in ("model", "seed", "snapshot"):
            schema = dbt_resource_props["config"].get("schema") or "main"
            return dg.AssetKey([schema, dbt_resource_props["name"]])
        return super().get_asset_key(dbt_resource_props)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer."""
        return dbt_resource_props["config"].get("schema")


def landing_specs(runtime: Runtime) -> list[dg.AssetSpec]:
    """One external asset per source that people fill: the folder its files land in."""
    pulled = {source.name for source in pulled_sources(runtime)}
    return [
        _landing_spec(source) for source in runtime.settings.sources if source.name not in pulled
    ]


def _landing_spec(source: SourceSettings) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=dg.AssetKey(["landing", source.name]),
        group_name="landing",
        kinds={"file"},
        description=f"Files of source {source.name} (kind {source.kind}).",
    )


ANSWERED = "answered"


def extract_assets(runtime: Runtime) -> list[dg.AssetsDefinition]:
    """The extract step: one asset per source with a connection; none where none is configured."""
    specs = [_landing_spec(source) for source in pulled_sources(runtime)]
    if not specs:
        return []

    @dg.multi_asset(
        name="extract_sources",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(
                ANSWERED,
                asset=spec.key,
                description="The source could be read; what it lacked, the next run reads.",
            )
            for spec in specs
        ],
        pool=WAREHOUSE_POOL,
    )
    def extract_sources(
        context: dg.AssetExecutionContext, tollbook: Tollbook
    ) -> Iterator[dg.MaterializeResult]:
        """Land what each source has and the warehouse does not know.

        A source that fails fails its check alone: what the others gave is loaded and published.
        """
        report = tollbook.steps(context).extract()
        for each in report.sources:
            key = dg.AssetKey(["landing", each.source])
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={"rows": sum(each.rows.values()), "files": len(each.files)},
                check_results=[
                    dg.AssetCheckResult(
                        asset_key=key,
                        check_name=ANSWERED,
                        passed=not each.problems,
                        severity=dg.AssetCheckSeverity.WARN,
                        metadata={"problems": "; ".join(each.problems)},
                    )
                ],
            )

    return [extract_sources]


def load_asset(runtime: Runtime) -> dg.AssetsDefinition:
    """The load step: new landed files into raw, with their ledger entries."""
    folders = {
        kind: [
            dg.AssetKey(["landing", source.name])
            for source in runtime.settings.sources
            if kind in source.file_kinds
        ]
        for kind in (*ROW_KINDS, PRICE_CATALOG)
    }
    everything = sorted({key for keys in folders.values() for key in keys})
    specs = [
        dg.AssetSpec(
            key,
            group_name="load",
            kinds={"python", "duckdb"},
            deps=sorted({folder for kind in kinds for folder in folders[kind]}),
        )
        for key, kinds in RAW_KEYS.items()
    ]
    specs += [
        dg.AssetSpec(key, group_name="load", kinds={"python", "duckdb"}, deps=everything)
        for key in LEDGER_KEYS
    ]

    @dg.multi_asset(name="load_landing_files", specs=specs, pool=WAREHOUSE_POOL)
    def load_landing_files(
        context: dg.AssetExecutionContext, tollbook: Tollbook
    ) -> Iterator[dg.MaterializeResult]:
        """Append what is new in the landing folder to raw.

        Grain: one batch per file. A rerun finds the same bytes in the ledger and adds nothing.
        """
        report = tollbook.steps(context).load()
        totals = {
            name: report.total(name)
            for name in ("rows_in", "rows_loaded", "rows_already_known", "rows_quarantined")
        }
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key, metadata=totals)

    return load_landing_files


def model_assets(manifest: Path) -> dg.AssetsDefinition:
    """Every dbt model, built in this process by one dbt call."""

    @dbt_assets(
        manifest=manifest,
        dagster_dbt_translator=ModelTranslator(),
        name="build_models",
        pool=WAREHOUSE_POOL,
        # Not run with the marts: what only a change of the models can break.
        exclude=f"tag:{CI_TAG}",
    )
    def build_models(
        context: dg.AssetExecutionContext, tollbook: Tollbook
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        """Rebuild the days that changed and run the data tests beside the models."""
        steps = tollbook.steps(context)
        nodes = steps.build(full_refresh=tollbook.full_refresh)
        yield from _events(context, nodes)

    return build_models


_UNCHANGED = "no price catalog brought news; what the last build found holds"


def _events(
    context: dg.AssetExecutionContext, nodes: list[NodeResult]
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """dbt's results as events of the assets and checks this run selected, in order of lineage."""
    by_name = {node.unique_id.split(".")[2]: node for node in nodes}
    # The outputs of a step are its assets and, where only some are selected, its checks.
    selected = context.selected_asset_keys
    outputs = {
        key: name for name, key in context.assets_def.keys_by_output_name.items() if key in selected
    }
    for key in TopologicalSorter(context.assets_def.asset_deps).static_order():
        if key in outputs:
            node = by_name.get(key.path[-1])
            found = {"seconds": node.seconds} if node else {"unchanged": _UNCHANGED}
            yield dg.Output(None, output_name=outputs[key], metadata=found)
    for check in sorted(context.selected_asset_check_keys):
        node = by_name.get(check.name)
        # A build in which a check fails is not remembered, so what is unchanged has passed.
        yield dg.AssetCheckResult(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=node is None or node.status in ("pass", "success"),
            metadata={"failing_rows": node.failures} if node else {"unchanged": _UNCHANGED},
        )


def publish_asset(published_from: list[dg.AssetKey]) -> dg.AssetsDefinition:
    """The publish step: the versioned snapshot readers use."""

    @dg.asset(
        key=PUBLISHED,
        deps=published_from,
        group_name="publish",
        kinds={"duckdb"},
        pool=WAREHOUSE_POOL,
        description="Verified read-only snapshot of the marts behind published/tollbook.duckdb.",
    )
    def publish_snapshot(
        context: dg.AssetExecutionContext, tollbook: Tollbook
    ) -> dg.MaterializeResult:
        publication = tollbook.steps(context).publish()
        return dg.MaterializeResult(
            metadata={
                "version": publication.version,
                "path": dg.MetadataValue.path(str(publication.path)),
                "rows": sum(rows for rows, _ in publication.tables.values()),
            }
        )

    return publish_snapshot
