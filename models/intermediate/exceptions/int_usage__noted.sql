{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per usage record that some exception may be about. Exceptions read these alone, so
-- that listing them costs what is conspicuous and not what was ever used.

with usage as (
    select * from {{ ref('usage_records') }}
    where {{ in_touched_days('started_at') }}
),

contested as (
    select distinct
        gateway,
        request_id
    from {{ ref('int_usage__occurrences') }}
),

skewed as (
    select distinct
        load_batch_id,
        line_number
    from {{ source('audit', 'row_flags') }}
    where code in ('clock_skew', 'end_before_start')
),

noted as (
    select
        usage.*,
        skewed.load_batch_id is not null or coalesce(usage.ended_at < usage.started_at, false)
            as is_clock_skewed
    from usage
    left join contested
        on usage.gateway = contested.gateway and usage.request_id = contested.request_id
    left join skewed
        on usage.load_batch_id = skewed.load_batch_id and usage.source_line = skewed.line_number
    where
        -- repeated, or an id several calls share
        usage.duplicate_of is not null
        or usage.occurrence > 1
        or contested.request_id is not null
        -- failed and charged
        or (
            (usage.status = 'failure' or usage.http_status >= 500)
            and (usage.billed_cost > 0 or usage.gateway_cost > 0)
        )
        -- not as asked for or as allowed
        or usage.fallback_from_model is not null
        or (usage.is_batch and not coalesce(usage.is_batch_allowed, false))
        or not contains(
            ';' || coalesce(usage.allowed_service_tiers, 'standard;batch') || ';',
            ';' || case when usage.is_batch then 'batch' else usage.service_tier end || ';'
        )
        -- not measured, not priced, not converted
        or usage.usage_status in ('estimated', 'partial_stream')
        or usage.cost_status in ('quantity_unknown', 'unpriced')
        or usage.fx_rate is null
        or (usage.logged_cost <> 0 and usage.gateway_cost is null)
        -- at a time that cannot be
        or skewed.load_batch_id is not null
        or usage.ended_at < usage.started_at
)

select * from noted
