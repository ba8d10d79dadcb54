-- Grain: one row per application request the gateway has no record of, at the list price then.
-- What cannot be priced by its tokens is taken for the mean of its model and day at its gateway, or
-- at all gateways where its own has none.

with app_requests as (
    select
        *,
        {{ without_routing_prefix('model', "cast(null as varchar)") }} as bare_model
    from {{ ref('stg_app__requests') }}
),

unmatched as (
    select
        gateway,
        request_id
    from {{ ref('request_reconciliation') }}
    where side = 'app' and match_status = 'missing_usage'
),

lost as (
    select app_requests.*
    from app_requests
    inner join unmatched
        on
            app_requests.gateway = unmatched.gateway
            and app_requests.request_id = unmatched.request_id
),

missing as (
    select
        *,
        cast({{ context_band('input_tokens') }} as bigint) as context_above_tokens,
        coalesce(input_tokens, 0) - coalesce(cached_tokens, 0) as uncached_tokens,
        coalesce(input_tokens, output_tokens) is not null
        and coalesce(cached_tokens, 0) <= coalesce(input_tokens, 0)
        and greatest(coalesce(input_tokens, 0), coalesce(output_tokens, 0))
        < {{ count_limit() }} as has_tokens
    from lost
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

{%- for name, keys in [
    ("own_means", "gateway, usage_date, model"), ("means", "usage_date, model")
] %}

{{ name }} as (
    select
        {{ keys }},
        -- An estimate of what nobody measured, so a mean may be rounded.
        {{ mean_cost('sum(billed_cost)', 'sum(priced_records)') }} as mean_billed_cost
    from {{ ref('int_usage__logged_hours') }}
    where priced_records > 0
    group by {{ keys }}
    -- List prices are in USD, and a mean in another currency would be taken for them.
    having bool_and(coalesce(currency, 'USD') = 'USD')
),
{%- endfor %}

joined as (
    select
        missing.*,
        coalesce(own_means.mean_billed_cost, means.mean_billed_cost) as mean_billed_cost,
        prices.input_text_uncached_tokens_price as input_price,
        prices.input_cached_read_tokens_price as cached_price,
        prices.output_text_tokens_price as output_price
    from missing
    left join prices
        on
            missing.model = prices.price_model
            and missing.context_above_tokens = prices.context_above_tokens
            and missing.occurred_at >= prices.valid_from_at
            and missing.occurred_at < prices.valid_to_at
    left join own_means
        on
            missing.gateway = own_means.gateway
            and missing.usage_date = own_means.usage_date
            and missing.bare_model = own_means.model
    left join means
        on missing.usage_date = means.usage_date and missing.bare_model = means.model
),

priced as (
    select
        * exclude (input_price, cached_price, output_price, mean_billed_cost),
        case
            when
                has_tokens
                and input_price is not null
                and (output_price is not null or coalesce(output_tokens, 0) = 0)
                then
                    {{ priced_tokens('uncached_tokens', 'input_price') }}
                    + {{ priced_tokens('coalesce(cached_tokens, 0)', 'coalesce(cached_price, 0)') }}
                    + {{ priced_tokens('coalesce(output_tokens, 0)', 'coalesce(output_price, 0)') }}
            else mean_billed_cost
        end as list_cost
    from joined
)

select * from priced
