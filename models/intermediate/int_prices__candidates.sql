{{ config(materialized='table') }}
-- Grain: one row per pricing context, moment at which its prices change, and unit: the price that
-- holds from then on. Nearest first: the catalog that comes first in pricing.list_order, batch or
-- not, the region, the highest context band reached, the service tier; a missing tier or band
-- takes the base price, as LiteLLM reads its own map.

with contexts as (
    select * from {{ ref('int_usage__price_contexts') }}
    union
    select
        cast(null as varchar) as price_provider,
        model as price_model,
        'standard' as service_tier,
        false as is_batch,
        cast({{ context_band('input_tokens') }} as bigint) as context_above_tokens,
        '' as price_region
    from {{ ref('stg_app__requests') }}
),

matched as (
    select * from {{ ref('int_prices__matched') }}
),

dated as (
    select
        *,
        false as is_backcast
    from {{ ref('int_prices__dated') }}
    {% if var('price_backcast') %}
    union all
    select
        * replace (timestamp '1970-01-01 00:00:00' as valid_from_at, first_from_at as valid_to_at),
        true as is_backcast
    from {{ ref('int_prices__dated') }}
    where valid_from_at = first_from_at
    {% endif %}
),

eligible as (
    select
        contexts.*,
        dated.unit,
        dated.unit_price,
        dated.price_id,
        dated.price_snapshot_id,
        dated.valid_from_at,
        dated.valid_to_at,
        dated.is_backcast,
        case matched.catalog
            {%- for catalog in var('price_list_order') %}
            when '{{ catalog }}' then {{ loop.index0 }}
            {%- endfor %}
            else {{ var('price_list_order') | length }}
        end as catalog_rank,
        matched.catalog,
        case when dated.is_batch = contexts.is_batch then 0 else 1 end as batch_rank,
        case when dated.region = contexts.price_region then 0 else 1 end as region_rank,
        -dated.context_above_tokens as band_rank,
        case when dated.service_tier = contexts.service_tier then 0 else 1 end as tier_rank,
        dated.priority
    from contexts
    inner join matched
        on
            contexts.price_provider is not distinct from matched.price_provider
            and contexts.price_model = matched.price_model
    inner join dated
        on
            matched.catalog = dated.catalog
            and matched.price_key = dated.price_key
            and matched.catalog_provider = dated.catalog_provider
    where
        dated.currency = 'USD'
        and dated.service_tier in ('standard', contexts.service_tier)
        and (not dated.is_batch or contexts.is_batch)
        and dated.region in ('', contexts.price_region)
        and dated.context_above_tokens <= contexts.context_above_tokens
),

moments as (
    select distinct
        {{ price_context() | join(', ') }},
        valid_from_at as changes_at
    from eligible
    union
    -- A price that ends without a successor leaves a gap that must be seen.
    select distinct
        {{ price_context() | join(', ') }},
        valid_to_at as changes_at
    from eligible
    where valid_to_at < timestamp '9999-12-31 00:00:00'
),

held as (
    select
        moments.*,
        eligible.unit,
        eligible.unit_price,
        eligible.price_id,
        eligible.price_snapshot_id,
        eligible.is_backcast,
        eligible.batch_rank,
        eligible.band_rank,
        eligible.tier_rank,
        row_number() over (
            partition by
                {% for name in price_context() %}moments.{{ name }}, {% endfor %}
                moments.changes_at, eligible.unit
            order by
                eligible.is_backcast,
                eligible.catalog_rank,
                eligible.catalog,
                eligible.batch_rank,
                eligible.region_rank,
                eligible.band_rank,
                eligible.tier_rank,
                eligible.priority desc,
                eligible.price_id
        ) as rank
    from moments
    -- Left join: a moment from which nothing holds any more must end what held before.
    left join eligible
        on
            {% for name in price_context() -%}
            moments.{{ name }} is not distinct from eligible.{{ name }}
            and {% endfor -%}
            moments.changes_at >= eligible.valid_from_at
            and moments.changes_at < eligible.valid_to_at
),

chosen as (
    select * exclude (rank)
    from held
    where rank = 1
)

select * from chosen
