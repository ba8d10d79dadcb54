{{ config(
    materialized='incremental',
    incremental_strategy='price_sets',
    on_schema_change='fail'
) }}
-- Grain: one row per pricing context and validity: the unit price of every unit.
-- Where a catalog quotes no price for a unit, the unit it is billed as stands in (macro
-- usage_units). A price of the base tier or of live calls does not stand against a nearer price
-- of the unit it is a kind of: reasoning follows its tier's output, a batch its batch prices.

{%- set priced = units_in(ref('int_prices__candidates')) %}

with candidates as (
    select * from {{ ref('int_prices__candidates') }}
),

pivoted as (
    select
        {{ price_context() | join(',\n        ') }},
        valid_from_at,
        max(valid_to_at) as valid_to_at,
        {% for unit in usage_units() -%}
        {% if unit.name in priced -%}
        {%- set is_unit = "unit = '" ~ unit.name ~ "'" -%}
        max(case when {{ is_unit }} then unit_price end) as {{ unit.name }}_own_price,
        max(case when {{ is_unit }} then price_id end) as {{ unit.name }}_own_price_id,
        max(case when {{ is_unit }} then batch_rank end) as {{ unit.name }}_batch_rank,
        max(case when {{ is_unit }} then distance end) as {{ unit.name }}_distance,
        {% else -%}
        cast(null as decimal(38, 18)) as {{ unit.name }}_own_price,
        cast(null as varchar) as {{ unit.name }}_own_price_id,
        cast(null as integer) as {{ unit.name }}_batch_rank,
        cast(null as bigint) as {{ unit.name }}_distance,
        {% endif -%}
        {% endfor -%}
        string_agg(price_id, '|' order by unit) as price_ids,
        min_by(price_snapshot_id, unit) as price_snapshot_id,
        coalesce(bool_or(is_backcast), false) as is_backcast
    from candidates
    group by
        {{ price_context() | join(',\n        ') }},
        valid_from_at
),

resolved as (
    select
        {{ price_context() | join(',\n        ') }},
        valid_from_at,
        valid_to_at,
        price_snapshot_id,
        price_ids,
        is_backcast,
        {% for unit in usage_units() -%}
        {{ resolved_price(unit, "price") }} as {{ unit.name }}_price,
        {{ resolved_price(unit, "price_id") }} as {{ unit.name }}_price_id,
        {% endfor -%}
        output_image_tokens_own_price is not null as is_output_image_token_priced
    from pivoted
),

final as (
    select
        md5(
            concat_ws(
                '|', coalesce(price_provider, ''), price_model, service_tier, is_batch,
                context_above_tokens, price_region, valid_from_at, price_ids
            )
        ) as price_set_id,
        {{ price_context() | join(',\n        ') }},
        valid_from_at,
        valid_to_at,
        price_snapshot_id,
        is_backcast,
        {% for unit in usage_units() -%}
        cast({{ unit.name }}_price as decimal(38, 18)) as {{ unit.name }}_price,
        {{ unit.name }}_price_id,
        {% endfor -%}
        is_output_image_token_priced
    from resolved
)

select * from final
