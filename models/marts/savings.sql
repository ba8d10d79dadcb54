{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, key, team, provider, model and currency: what was paid, beside the
-- list price and beside what the account's baseline model would have cost.
-- Only texts are compared with the baseline model; it sees no pictures, and embeds nothing. Of a
-- gateway that names no endpoint, what wrote text and nothing else is a text.

with records as (
    select
        *,
        cast({{ context_band('input_total_tokens') }} as bigint) as context_above_tokens
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

usage as (
    select
        records.*,
        case
            when
                records.endpoint in ('chat', 'messages', 'responses', 'generate_content', 'batch')
                or (
                    coalesce(records.endpoint, 'other') = 'other'
                    and records.output_text_tokens > 0
                    and coalesce(records.output_audio_tokens, 0) = 0
                    and coalesce(records.output_image_tokens, 0) = 0
                    and coalesce(records.output_images, 0) = 0
                )
                then accounts.baseline_model
        end as baseline_model
    from records
    left join accounts on records.account_id = accounts.account_id
),

prices as (
    select * from {{ ref('int_prices__of_usage_days') }}
    where price_provider is null and service_tier = 'standard' and price_region = ''
),

priced as (
    select
        usage.usage_date,
        usage.api_key_id,
        usage.team_id,
        usage.provider,
        usage.model,
        usage.currency,
        usage.fx_rate,
        usage.cost_status,
        usage.billed_cost,
        usage.list_cost,
        usage.baseline_model,
        {{ cost_at_prices() | indent(8) }} as listed_baseline_cost
    from usage
    left join prices
        on
            usage.usage_date = prices.usage_date
            and usage.baseline_model = prices.price_model
            and usage.is_batch = prices.is_batch
            and usage.context_above_tokens = prices.context_above_tokens
            and usage.started_at >= prices.valid_from_at
            and usage.started_at < prices.valid_to_at
),

compared as (
    select
        *,
        case
            when baseline_model is null or list_cost is null then null
            when cost_status in ('cache_hit', 'failed') then 0
            else {{ converted('listed_baseline_cost', 'fx_rate') | indent(12) }}
        end as baseline_cost
    from priced
),

summed as (
    select
        usage_date,
        api_key_id,
        team_id,
        provider,
        model,
        currency,
        sum(billed_cost) as total_spend,
        sum(list_cost) as market_rate,
        sum(list_cost - billed_cost) as saved_amount,
        sum(baseline_cost) as baseline_cost,
        sum(baseline_cost - billed_cost) as routing_saved_amount
    from compared
    group by usage_date, api_key_id, team_id, provider, model, currency
),

final as (
    select
        usage_date,
        api_key_id,
        team_id,
        provider,
        model,
        currency,
        cast(total_spend as decimal(38, 18)) as total_spend,
        cast(market_rate as decimal(38, 18)) as market_rate,
        cast(saved_amount as decimal(38, 18)) as saved_amount,
        {{ percent_of('saved_amount', 'market_rate') }} as saved_percent,
        cast(baseline_cost as decimal(38, 18)) as baseline_cost,
        cast(routing_saved_amount as decimal(38, 18)) as routing_saved_amount
    from summed
)

select * from final
