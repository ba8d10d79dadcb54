{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, billing day, account, what chargeback is by, shared key and currency.
-- The UTC day is what a build replaces; the billing day is the account's own.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

shared_keys as (
    select distinct substr(cost_kind, 5) as api_key_id
    from {{ ref('shared_cost_rules') }}
    where starts_with(cost_kind, 'key:')
),

final as (
    select
        usage.usage_date,
        usage.billing_date,
        usage.account_id,
        {% for name in chargeback_dimensions() -%}
        usage.{{ name }},
        {% endfor -%}
        shared_keys.api_key_id as shared_key_id,
        coalesce(usage.storage_gibibyte_hours > 0, false) as is_cache_storage,
        usage.currency,
        cast(sum(usage.billed_cost) as decimal(38, 18)) as billed_cost,
        cast(sum(usage.requests) as bigint) as requests,
        cast(sum(case when usage.billed_cost is null then 1 else 0 end) as bigint)
            as unpriced_requests,
        cast(
            sum(case when usage.billed_cost is null then usage.gateway_cost end)
            as decimal(38, 18)
        ) as unpriced_gateway_cost
    from usage
    left join shared_keys on usage.api_key_id = shared_keys.api_key_id
    group by all
)

select * from final
