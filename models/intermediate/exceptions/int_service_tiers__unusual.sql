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

-- Read twice, each time a few rows of a wide table: not to be kept as a whole.
price_sets as not materialized (
    select * from {{ ref('price_sets') }}
    where {{ holds_on_touched_days('valid_from_at', 'valid_to_at') }}
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

{{ priced_as('price_provider', 'price_model', "'standard'") }},

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
