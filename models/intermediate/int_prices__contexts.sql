{{ config(materialized='table') }}
-- Grain: one row per pricing context in use: provider, model, tier, batch, size of input, region.
-- is_to_price: whether its price sets are to be made in this run. Where no catalog brought news,
-- those of the contexts known before hold.

with contexts as (
    select
        {{ price_context() | join(',\n        ') }}
    from {{ ref('int_usage__price_contexts') }}
    union
    -- An application names no provider, tier or region.
    select
        cast(null as varchar) as price_provider,
        model as price_model,
        'standard' as service_tier,
        false as is_batch,
        cast({{ context_band('input_tokens') }} as bigint) as context_above_tokens,
        '' as price_region
    from {{ ref('stg_app__requests') }}
),

{%- set price_sets = none %}
{%- if execute and not build_plan()["has_new_prices"] %}
{#- Not by ref: price_sets is built from these contexts. -#}
{%- set price_sets = adapter.get_relation(model.database, 'marts', 'price_sets') %}
{%- endif %}

final as (
    select
        contexts.*,
        {% if price_sets is none -%}
        true as is_to_price
        {%- else -%}
        not exists (
            select 1 from {{ price_sets }} as known
            where {{ same_price_context("known", "contexts") }}
        ) as is_to_price
        {%- endif %}
    from contexts
)

select * from final
