-- Grain: one row per application request the gateway has no record of, at the list price then.

with missing as (
    select
        *,
        cast({{ context_band('input_tokens') }} as bigint) as context_above_tokens
    from {{ ref('int_app_requests__matched') }}
    where match_status = 'missing_usage'
),

prices as (
    select *
    from {{ ref('price_sets') }}
    where
        price_provider is null
        and service_tier = 'standard'
        and not is_batch
        and price_region = ''
),

means as (
    select
        usage_date,
        model,
        -- An estimate of what nobody measured, so a mean may be rounded.
        cast(sum(billed_cost) / count(*) as decimal(38, 18)) as mean_billed_cost
    from {{ ref('usage_records') }}
    where duplicate_of is null and billed_cost is not null and requests > 0
    group by usage_date, model
),

priced as (
    select
        missing.*,
        case
            when missing.input_tokens is null and missing.output_tokens is null then means.mean_billed_cost
            when coalesce(missing.cached_tokens, 0) > coalesce(missing.input_tokens, 0) then means.mean_billed_cost
            when
                prices.input_text_uncached_tokens_price is not null
                and (prices.output_text_tokens_price is not null or coalesce(missing.output_tokens, 0) = 0)
                then
                    cast(cast(coalesce(missing.input_tokens, 0) - coalesce(missing.cached_tokens, 0) as decimal(12, 0)) * cast(prices.input_text_uncached_tokens_price as decimal(25, 18)) as decimal(38, 18))
                    + cast(cast(coalesce(missing.cached_tokens, 0) as decimal(12, 0)) * cast(coalesce(prices.input_cached_read_tokens_price, 0) as decimal(25, 18)) as decimal(38, 18))
                    + cast(cast(coalesce(missing.output_tokens, 0) as decimal(12, 0)) * cast(coalesce(prices.output_text_tokens_price, 0) as decimal(25, 18)) as decimal(38, 18))
            else means.mean_billed_cost
        end as list_cost
    from missing
    left join prices
        on
            missing.model = prices.price_model
            and missing.context_above_tokens = prices.context_above_tokens
            and missing.occurred_at >= prices.valid_from_at
            and missing.occurred_at < prices.valid_to_at
    left join means
        on missing.usage_date = means.usage_date and missing.bare_model = means.model
)

select * from priced
