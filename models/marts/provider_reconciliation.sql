{{ config(meta={'rows_need': ['int_provider_days__faced']}) }}
-- Grain: one row per UTC day, provider account, project, model, unit, tier, batch and currency on
-- which the provider states its usage or cost.
-- variance_amount is what the provider states less what the gateway recorded; the causes add up to
-- it, unexplained being what is left.

with days as (
    select * from {{ ref('int_provider_days__faced') }}
),

subscriptions as (
    select
        provider_account_id,
        min(valid_from_date) as valid_from_date,
        max(coalesce(valid_to_date, date '9999-12-31')) as valid_to_date
    from {{ ref('subscriptions') }}
    where provider_account_id is not null
    group by provider_account_id
),

newest as (
    select cast(max(observed_at) as date) as observed_date from days
),

stated as (
    select
        *,
        case
            when line_kind <> 'usage' or not is_mapped then null
            when has_usage then coalesce(usage_quantity, cost_quantity, 0)
            when has_cost_quantity then coalesce(cost_quantity, 0)
        end as stated_quantity,
        {{ sliced_cost('usage_quantity', 'unit_price') }} as usage_amount,
        -- Providers restate a day for some days.
        is_complete
        and coalesce(observed_at >= provider_date + interval 4 day, true) as is_final,
        coalesce(gateway_quantity, 0) as counted_quantity,
        coalesce(gateway_amount, 0) as counted_amount
    from days
),

shifted as (
    select
        *,
        case
            when
                stated_quantity <> counted_quantity
                and stated_quantity = coalesce(local_gateway_quantity, 0)
                then coalesce(local_gateway_amount, 0) - counted_amount
            else 0
        end as time_zone_amount
    from stated
),

facing as (
    select
        row_id,
        concat_ws(
            '|', provider_date, provider_account_id, coalesce(provider_project_id, ''), currency
        ) as family,
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        model as our_model,
        unit as our_unit,
        service_tier as our_tier,
        is_batch as our_is_batch,
        context_band as our_band,
        currency,
        stated_quantity as vendor_quantity,
        case
            when line_kind <> 'usage' or not is_mapped then cost_amount
            -- Where a provider states costs at all, what it states none of costs nothing.
            when has_cost then coalesce(cost_amount, 0)
            when usage_quantity > 0 and unit_price is null then null
            else coalesce(usage_amount, 0)
        end as vendor_amount,
        case
            when cost_amount <> 0 and cost_quantity > 0
                then cast(cost_amount / cost_quantity as decimal(38, 18))
        end as vendor_unit_price,
        case when time_zone_amount <> 0 then stated_quantity else counted_quantity end
            as our_quantity,
        counted_amount + time_zone_amount as expected_amount,
        unit_price,
        window_prices,
        {% for name in unbilled_classes() -%}
        coalesce({{ name }}_quantity, 0) as {{ name }}_quantity,
        coalesce({{ name }}_cost, 0) as {{ name }}_cost,
        {% endfor -%}
        has_partial,
        case
            when has_usage then coalesce(usage_bypass_quantity, 0)
            else coalesce(cost_bypass_quantity, 0)
        end as bypass_quantity,
        true as is_seen,
        case
            when unit_price is null and stated_quantity > 0 then stated_quantity
            else coalesce(unpriced_quantity, 0)
        end as unpriced_quantity,
        -- A day that is not final may still get what the gateway has already.
        case
            when not is_final and stated_quantity < counted_quantity
                then stated_quantity - counted_quantity
            else 0
        end as late_quantity,
        0 as rounding_amount,
        {% for cause in causes_by_day() -%}
        cast(null as decimal(38, 18)) as day_{{ cause }}_amount
        {{- "," if not loop.last }}
        {% endfor %}
    from shifted
),

{{ explaining_steps() }},

price_bounds as (
    select
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        currency,
        min(unit_price) as lowest_price,
        max(unit_price) as highest_price
    from known_prices
    group by provider, model, unit, service_tier, is_batch, currency
),

attributed as (
    select
        shifted.* exclude (time_zone_amount),
        explained.vendor_amount,
        explained.vendor_amount - shifted.counted_amount as variance_amount,
        {% for name in ["tax", "fee", "credit"] -%}
        case when shifted.line_kind = '{{ name }}' then shifted.cost_amount else 0 end
            as {{ name }}_amount,
        {% endfor -%}
        cast(0 as decimal(38, 18)) as fx_amount,
        shifted.time_zone_amount,
        cast(0 as decimal(38, 18)) as period_straddle_amount,
        {% for cause in causes_by_slice() -%}
        explained.{{ cause }}_amount,
        {% endfor -%}
        explained.missing_usage_quantity,
        explained.bypass_traffic_quantity,
        price_bounds.lowest_price,
        price_bounds.highest_price,
        case
            when shifted.line_kind = 'commitment' and subscriptions.provider_account_id is not null
                then shifted.cost_amount
            else 0
        end as commitment_amount,
        cast(0 as decimal(38, 18)) as markup_amount,
        cast(0 as decimal(38, 18)) as rounding_amount
    from shifted
    inner join explained on shifted.row_id = explained.row_id
    left join price_bounds
        on
            shifted.provider = price_bounds.provider
            and shifted.model = price_bounds.model
            and shifted.unit = price_bounds.unit
            and shifted.service_tier = price_bounds.service_tier
            and shifted.is_batch = price_bounds.is_batch
            and shifted.currency = price_bounds.currency
    left join subscriptions
        on
            shifted.provider_account_id = subscriptions.provider_account_id
            and shifted.provider_date >= subscriptions.valid_from_date
            and shifted.provider_date < subscriptions.valid_to_date
),

summed_up as (
    select
        *,
        variance_amount
        {%- for cause in variance_causes() if cause != "unexplained" %}
        - coalesce({{ cause }}_amount, 0)
        {%- endfor %} as left_amount
    from attributed
),

-- Where nothing but unseen calls differs, the provider's own charge says what they cost: it knows at
-- which price of the day each of them was made.
charged as (
    select
        *,
        case
            when
                left_amount = 0 or cost_amount is null or lowest_price is null
                {%- for cause in variance_causes() if cause not in ("missing_usage", "bypass_traffic", "unexplained") %}
                or coalesce({{ cause }}_amount, 0) <> 0
                {%- endfor %}
                then null
            {% for cause in ["missing_usage", "bypass_traffic"] -%}
            {%- set other = "bypass_traffic" if cause == "missing_usage" else "missing_usage" %}
            when
                {{ cause }}_quantity > 0 and {{ other }}_quantity = 0
                and {{ cause }}_amount + left_amount
                between {{ sliced_cost(cause ~ '_quantity', 'lowest_price') | indent(16) }}
                and {{ sliced_cost(cause ~ '_quantity', 'highest_price') | indent(16) }}
                then '{{ cause }}'
            {% endfor %}
        end as charged_cause
    from summed_up
),

settled as (
    select
        * exclude (
            left_amount, charged_cause, missing_usage_amount, bypass_traffic_amount,
            rounding_amount
        ),
        -- Providers print some decimals of a day's cost, or a binary float of it.
        case
            when charged_cause is null and abs(left_amount) <= 10 * {{ dust() }} then left_amount
            else 0
        end as rounding_amount,
        {% for cause in ["missing_usage", "bypass_traffic"] -%}
        {{ cause }}_amount + case when charged_cause = '{{ cause }}' then left_amount else 0 end
            as {{ cause }}_amount,
        {% endfor -%}
        case
            when charged_cause is null and abs(left_amount) > 10 * {{ dust() }} then left_amount
            else 0
        end as unexplained_amount
    from charged
),

final as (
    select
        settled.provider_date,
        settled.provider_account_id,
        settled.provider,
        settled.provider_project_id,
        settled.model,
        settled.unit,
        settled.service_tier,
        settled.is_batch,
        settled.currency,
        settled.gateway_quantity,
        settled.usage_quantity,
        settled.cost_quantity,
        settled.gateway_amount,
        cast(settled.usage_amount as decimal(38, 18)) as usage_amount,
        settled.cost_amount,
        settled.local_gateway_quantity as local_date_gateway_quantity,
        cast(settled.variance_amount as decimal(38, 18)) as variance_amount,
        {% for cause in variance_causes() -%}
        cast(
            case
                when settled.variance_amount is not null
                    then coalesce(settled.{{ cause }}_amount, 0)
            end as decimal(38, 18)
        ) as {{ cause }}_amount,
        {% endfor -%}
        settled.is_final,
        cast(
            date_diff('day', settled.provider_date, newest.observed_date) as bigint
        ) as aged_days,
        case
            when settled.variance_amount is null then 'unpriced'
            when abs(settled.variance_amount) <= {{ var('invoice_tolerance') }} then 'matched'
            when not settled.is_final then 'pending'
            when abs(settled.unexplained_amount) <= {{ var('invoice_tolerance') }}
                then 'explained'
            else 'unexplained'
        end as status
    from settled
    cross join newest
)

select * from final
