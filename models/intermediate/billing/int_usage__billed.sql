-- Grain: one row per usage record, with what the provider should charge for it and what it costs
-- its owner in the end, both in the account's currency.

{%- set kinds = markup_kinds() %}

with usage as (
    select * from {{ ref('int_usage__owned') }}
),

{% if has_contract_prices() -%}
prices as (
    select * from {{ ref('contract_price_sets') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

contracted as (
    select
        usage.*,
        prices.contract_price_set_id,
        prices.contract_price_id,
        cast(
            case
                when prices.contract_price_set_id is null then null
                when
                    prices.contract_currency is null
                    or prices.contract_currency = usage.currency
                    then 1
                when prices.contract_currency = 'USD' then usage.fx_rate
                else fx_rates.rate
            end as decimal(18, 12)
        ) as contract_fx_rate,
        case
            {% for unit in usage_units() if not (unit.is_optional is defined) -%}
            when usage.{{ unit.name }} > 0 and {{ is_unpriced(unit) }} then true
            {% endfor -%}
            else false
        end as is_contract_incomplete,
        {% for unit in usage_units() -%}
        {{ contract_cost_of(unit, true) }}
        {{ "+ " if not loop.last }}
        {%- endfor %} as contracted_cost,
        {% for unit in usage_units() -%}
        {{ contract_cost_of(unit, false) }}
        {{ "+ " if not loop.last }}
        {%- endfor %} as listed_cost
    from usage
    -- Left joins: most records have no contract.
    left join prices
        on
            usage.provider_account_id = prices.provider_account_id
            and {{ same_price_context("usage", "prices") | indent(12) }}
            and usage.started_at >= prices.valid_from_at
            and usage.started_at < prices.valid_to_at
    left join fx_rates
        on
            cast(usage.started_at as date) = fx_rates.rate_date
            and prices.contract_currency = fx_rates.base_currency
            and usage.currency = fx_rates.quote_currency
),

provided as (
    select
        * exclude (
            cost_status, is_contract_incomplete, contracted_cost, listed_cost
        ),
        cast(
            case
                when contract_price_set_id is null then list_cost
                when cost_status in ('cache_hit', 'failed') or is_bookkeeping then 0
                when cost_status = 'quantity_unknown' or is_contract_incomplete then null
                else
                    {{ converted('contracted_cost', 'contract_fx_rate') | indent(20) }}
                    + {{ converted('listed_cost', 'fx_rate') | indent(20) }}
            end as decimal(38, 18)
        ) as provider_cost,
        -- A price by contract is a price, also where no list has one.
        case
            when
                cost_status = 'unpriced' and contract_price_set_id is not null
                and not is_contract_incomplete and contract_fx_rate is not null
                then 'priced'
            else cost_status
        end as cost_status
    from contracted
),
{%- else -%}
provided as (
    select
        *,
        cast(null as varchar) as contract_price_set_id,
        cast(null as varchar) as contract_price_id,
        cast(null as decimal(18, 12)) as contract_fx_rate,
        list_cost as provider_cost
    from usage
),
{%- endif %}

{% for kind in kinds -%}
rules_{{ loop.index }} as (
    select * from {{ ref('int_markups__dated') }}
    where {{ is_markup_kind(kind) }}
),

{% endfor -%}

ruled as (
    select
        provided.*,
        {{ markup_of("markup_rate", kinds) }} as ruled_markup_rate,
        {{ markup_of("fixed_fee", kinds) }} as ruled_fixed_fee
    from provided
    {{ markup_joins("provided", kinds) }}
),

rated as (
    select
        * exclude (ruled_markup_rate, ruled_fixed_fee),
        cast(coalesce(ruled_markup_rate, 0) as decimal(18, 12)) as ruled_markup_rate,
        -- A charge is what it is, and a subscription is paid for beside its calls.
        cast(
            case
                when billing_mode = 'managed' and billed_basis = 'rule'
                    then coalesce(ruled_markup_rate, 0)
                else 0
            end as decimal(18, 12)
        ) as markup_rate,
        -- A fee is for a call that was answered, once each.
        cast(
            case
                when requests > 0 and cost_status in ('priced', 'free')
                    then
                        coalesce({{ priced_tokens("requests", "ruled_fixed_fee") | indent(20) }}, 0)
                else 0
            end as decimal(38, 18)
        ) as ruled_fee
    from ruled
),

paid as (
    select
        *,
        case
            when billing_mode = 'byok' or (billing_mode = 'managed' and billed_basis = 'rule')
                then ruled_fee
            else 0
        end as fixed_fee,
        -- What the gateway should have written: a charge by the rules, or its reckoning of what the
        -- provider takes.
        cast(
            case
                when
                    billed_basis <> 'charge' and coalesce(default_billed_basis, 'rule') <> 'charge'
                    then provider_cost
                when billing_mode = 'subscription' then 0
                when billing_mode = 'byok' then ruled_fee
                else
                    {{ converted('provider_cost', '(1 + ruled_markup_rate)') | indent(20) }}
                    + ruled_fee
            end as decimal(38, 18)
        ) as expected_gateway_cost
    from rated
),

billed as (
    select
        *,
        cast(
            case
                when billing_mode = 'subscription' then 0
                when billing_mode = 'managed' and billed_basis = 'charge' then gateway_cost
                else {{ converted('provider_cost', '(1 + markup_rate)') | indent(16) }} + fixed_fee
            end as decimal(38, 18)
        ) as billed_cost,
        case
            when billing_mode <> 'byok' and billed_basis = 'charge' then gateway else provider
        end as payee
    from paid
)

select * from billed
