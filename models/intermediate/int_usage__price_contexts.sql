{{ config(materialized='incremental', incremental_strategy='append') }}
-- Grain: one row per context in which something was priced: provider, model, tier, batch, size of
-- input, region, as the gateways wrote them. Small, and it only grows.

with usage as (
    select distinct
        {{ price_context() | join(',\n        ') }}
    from {{ ref('int_usage__classified') }}
    where price_model is not null
)

select *
from usage
{% if is_incremental() %}
where
    ({{ price_context() | join(', ') }}) not in (
        select ({{ price_context() | join(', ') }}) from {{ this }}
    )
{% endif %}
