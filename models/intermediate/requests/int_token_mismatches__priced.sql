-- Grain: one row per application request whose tokens are not those of its usage record, with what
-- the tokens that differ cost: at the unit prices of the record, with its markup. Cached tokens are
-- part of input, and cost the difference between both prices.

{%- set prices = [
    ('input', 'input_text_uncached_tokens'),
    ('cached', 'input_cached_read_tokens'),
    ('output', 'output_text_tokens'),
] %}

with mismatches as (
    select
        *,
        coalesce(input_tokens_delta, 0) - coalesce(cached_tokens_delta, 0) as input_delta,
        coalesce(cached_tokens_delta, 0) as cached_delta,
        coalesce(output_tokens_delta, 0) as output_delta
    from {{ ref('request_reconciliation') }}
    where match_status = 'token_mismatch'
),

usage as (
    select * from {{ ref('usage_records') }}
),

price_sets as (
    select * from {{ ref('price_sets') }}
),

contracts as (
    select * from {{ ref('contract_price_sets') }}
),

joined as (
    select
        {% for side, unit in prices -%}
        coalesce(contracts.{{ unit }}_price, price_sets.{{ unit }}_price) as {{ side }}_price,
        case
            when contracts.is_{{ unit }}_contracted then usage.contract_fx_rate
            else usage.fx_rate
        end as {{ side }}_fx_rate,
        {% endfor -%}
        mismatches.gateway,
        mismatches.request_id,
        mismatches.usage_record_id,
        mismatches.occurred_at,
        mismatches.input_delta,
        mismatches.cached_delta,
        mismatches.output_delta,
        usage.account_id,
        usage.billing_month,
        usage.currency,
        usage.billed_cost,
        usage.markup_rate
    from mismatches
    inner join usage on mismatches.usage_record_id = usage.usage_record_id
    left join price_sets on usage.price_set_id = price_sets.price_set_id
    left join contracts on usage.contract_price_set_id = contracts.contract_price_set_id
),

multiplied as (
    select
        {% for side, _ in prices -%}
        case
            when {{ side }}_delta = 0 then 0
            when abs({{ side }}_delta) < {{ count_limit() }}
                then {{ priced_tokens(side ~ '_delta', side ~ '_price') }}
        end as {{ side }}_amount,
        {% endfor -%}
        *
    from joined
),

provided as (
    select
        *,
        cast(
            {% for side, _ in prices -%}
            {{ converted(side ~ '_amount', side ~ '_fx_rate') | indent(12) }}
            {{ "+ " if not loop.last }}
            {%- endfor %} as decimal(38, 18)
        ) as provider_amount
    from multiplied
),

final as (
    select
        gateway,
        request_id,
        usage_record_id,
        occurred_at,
        account_id,
        billing_month,
        currency,
        billed_cost,
        concat_ws(' ', input_delta, cached_delta, output_delta) as deltas,
        cast(
            {{ converted('provider_amount', '(1 + markup_rate)') | indent(12) }} as decimal(38, 18)
        ) as difference_amount
    from provided
)

select * from final
