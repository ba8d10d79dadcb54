{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per account, billing month, currency, key, tier that its owner map does not list,
-- and UTC day. Where it lists none, standard and batch are usual.
-- At stake is what the calls cost more than on the standard tier.

with records as (
    select
        *,
        case when is_batch then 'batch' else service_tier end as used_tier
    from {{ ref('int_usage__noted') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

price_sets as (
    select * from {{ ref('price_sets') }}
),

usage as (
    select
        records.*,
        own.price_provider,
        own.price_model,
        own.context_above_tokens,
        own.price_region
    from records
    left join price_sets as own on records.price_set_id = own.price_set_id
    where
        not contains(
            ';' || coalesce(records.allowed_service_tiers, 'standard;batch') || ';',
            ';' || records.used_tier || ';'
        )
),

-- Of all prices those that are asked for: the table is wide.
asked as (
    select * from price_sets
    where
        price_model in (select usage.price_model from usage)
        and service_tier = 'standard'
        and {{ holds_on_touched_days('valid_from_at', 'valid_to_at') }}
),

priced as (
    select
        usage.*,
        {{ cost_at_prices() | indent(8) }} as listed_cost
    from usage
    left join asked as prices
        on
            usage.price_model = prices.price_model
            and usage.price_provider is not distinct from prices.price_provider
            and usage.is_batch = prices.is_batch
            and usage.context_above_tokens = prices.context_above_tokens
            and usage.price_region = prices.price_region
            and usage.started_at >= prices.valid_from_at
            and usage.started_at < prices.valid_to_at
),

compared as (
    select
        *,
        case
            when provider_cost = 0 then 0
            else provider_cost - {{ converted('listed_cost', 'fx_rate') | indent(12) }}
        end as extra_cost
    from priced
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        api_key_id,
        used_tier,
        usage_date,
        case when count(*) = count(extra_cost) then sum(greatest(extra_cost, 0)) end
            as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(usage_record_id, ',' order by usage_record_id) as evidence_keys
    from compared
    group by account_id, billing_month, currency, api_key_id, used_tier, usage_date
)

select * from grouped
