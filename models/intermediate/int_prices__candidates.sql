{{ config(materialized='table') }}
-- Grain: one row per pricing context, moment at which its prices change, and unit: the price that
-- holds from then on. Nearest first: the catalog that comes first in pricing.list_order, batch or
-- not, the region, the highest context band reached, the service tier; a missing tier or band
-- takes the base price, as LiteLLM reads its own map.

with eligible as (
    select * from {{ ref('int_prices__eligible') }}
),

moments as (
    select
        {{ price_context() | join(',\n        ') }},
        valid_from_at as changes_at
    from eligible
    union
    -- A price that ends without a successor leaves a gap that must be seen.
    select
        {{ price_context() | join(',\n        ') }},
        valid_to_at as changes_at
    from eligible
    where valid_to_at < timestamp '9999-12-31 00:00:00'
),

spans as (
    select
        *,
        coalesce(
            lead(changes_at) over (
                partition by {{ price_context() | join(', ') }}
                order by changes_at
            ),
            timestamp '9999-12-31 00:00:00'
        ) as valid_to_at
    from moments
),

held as (
    select
        spans.*,
        spans.changes_at as valid_from_at,
        eligible.unit,
        eligible.unit_price,
        eligible.price_id,
        eligible.price_snapshot_id,
        eligible.is_backcast,
        eligible.batch_rank,
        -- Batch before band before tier; neither of the latter reaches the place of the former.
        eligible.batch_rank * 1000000000000
        + (100000000000 + eligible.band_rank) * 2
        + eligible.tier_rank as distance,
        row_number() over (
            partition by
                {% for name in price_context() -%}
                spans.{{ name }},
                {% endfor -%}
                spans.changes_at, eligible.unit
            order by
                eligible.is_backcast,
                eligible.catalog_rank,
                eligible.catalog,
                eligible.batch_rank,
                eligible.region_rank,
                eligible.band_rank,
                eligible.tier_rank,
                eligible.priority_rank,
                eligible.price_id
        ) as rank
    from spans
    -- Left join: a moment from which nothing holds any more must end what held before.
    left join eligible
        on
            {{ same_price_context("spans", "eligible") | indent(12) }}
            and spans.changes_at >= eligible.valid_from_at
            and spans.changes_at < eligible.valid_to_at
),

chosen as (
    select * exclude (rank, changes_at)
    from held
    where rank = 1
)

select * from chosen
