{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, gateway, account, provider, model, endpoint, tier, batch and owner.
-- Records that repeat another (duplicate_of) count in no total.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

final as (
    select
        {{ daily_spend_dimensions() | join(',\n        ') }},
        {{ spend_measures() }}
    from usage
    group by
        {{ daily_spend_dimensions() | join(',\n        ') }}
)

select * from final
