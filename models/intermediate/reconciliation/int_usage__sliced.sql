{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day of start, days of start and end in UTC and in the provider's billing
-- zone, gateway, account, payee, provider account, project and key on both sides, model, tier,
-- batch, context band, class of usage, currencies, unit and unit price.
-- Everything that is held against providers and invoices reads this, never the records.
-- usage_class: billable is what a bill should hold. Repeats, own keys, subscriptions, failures and
-- failed further attempts stand apart with what they would have cost.

{%- set dimensions = [
    "usage_date", "provider_date", "local_usage_date", "local_provider_date", "started_edge_at",
    "ended_edge_at", "gateway", "account_id", "payee", "provider", "provider_account_id",
    "provider_project_id", "provider_api_key_id", "project_id", "api_key_id", "model",
    "service_tier", "is_batch", "context_band", "usage_class", "is_partial", "currency",
    "provider_time_zone",
] %}
{%- set used = used_units(ref('usage_records'), in_touched_days('started_at')) %}
{#- Whether one of these was used decides which of two measures of one thing is charged. -#}
{%- set deciding = [] %}
{%- for unit in usage_units() if unit.stands_for is defined %}
{%- do deciding.append(unit.name) %}
{%- if unit.stands_for not in deciding %}
{%- do deciding.append(unit.stands_for) %}
{%- endif %}
{%- endfor %}

with records as (
    select
        *,
        cast(ended_at as date) as provider_date,
        {{ local_date('started_at', 'provider_time_zone') }} as local_usage_date,
        {{ local_date('ended_at', 'provider_time_zone') }} as local_provider_date,
        {{ month_edge('started_at') }} as started_edge_at,
        {{ month_edge('ended_at') }} as ended_edge_at,
        case
            when duplicate_of is not null then 'duplicate'
            when billing_mode = 'subscription' then 'subscription'
            -- An own key is another contract, unless the provider account is that of the gateway.
            when billing_mode = 'byok' and not is_contract_of_gateway then 'byok'
            when cost_status = 'failed' and attempt > 1 then 'retry'
            when cost_status = 'failed' then 'failed'
            else 'billable'
        end as usage_class,
        usage_status = 'partial_stream' as is_partial,
        billing_mode = 'byok'
        or (billing_mode = 'managed' and billed_basis = 'rule') as is_billed_by_unit
    from {{ ref('usage_records') }}
    where cost_status <> 'cache_hit' and {{ in_touched_days('started_at') }}
),

-- One pass over the records; what follows is small. Within a group all records have the same
-- prices, so a sum of quantities times a price is the sum of the products.
grouped as (
    select
        {{ dimensions | join(',\n        ') }},
        price_set_id,
        contract_price_set_id,
        fx_rate,
        contract_fx_rate,
        markup_rate,
        is_billed_by_unit,
        {% for name in deciding -%}
        coalesce({{ name }} > 0, false) as has_{{ name }},
        {% endfor -%}
        provider_cost is not null as is_cost_known,
        billed_cost is not null as is_billed_cost_known,
        {% for unit in usage_units() -%}
        {{ "sum(" ~ unit.name ~ ")" if unit in used else 0 }} as {{ unit.name }},
        {% endfor -%}
        sum(list_cost) as list_cost,
        sum(provider_cost) as provider_cost,
        sum(billed_cost) as billed_cost,
        count(*) as records
    from records
    group by
        {{ dimensions | join(',\n        ') }},
        price_set_id, contract_price_set_id, fx_rate, contract_fx_rate, markup_rate,
        is_billed_by_unit,
        {% for name in deciding -%}
        coalesce({{ name }} > 0, false),
        {% endfor -%}
        provider_cost is not null, billed_cost is not null
),

-- Numbers stand for the groups and their dimensions from here on; which group has which does not
-- matter, as none leaves this model.
keyed as materialized (
    select
        row_number() over () as slice_number,
        {{ dimensions | join(',\n        ') }}
    from (select distinct {{ dimensions | join(', ') }} from grouped)
),

numbered as materialized (
    select
        row_number() over () as group_number,
        keyed.slice_number,
        grouped.*
    from grouped
    inner join keyed
        on
            grouped.usage_date = keyed.usage_date
            {%- for name in dimensions if name != "usage_date" %}
            and grouped.{{ name }} is not distinct from keyed.{{ name }}
            {%- endfor %}
),

-- Of all prices those in use here, so that a day reads a day's.
prices as (
    select * from {{ ref('price_sets') }}
    where price_set_id in (select numbered.price_set_id from numbered)
),

contracts as (
    select * from {{ ref('contract_price_sets') }}
    where contract_price_set_id in (select numbered.contract_price_set_id from numbered)
),

quantities as (
    {% for unit in used -%}
    select
        numbered.group_number,
        '{{ unit.name }}' as unit,
        cast(numbered.{{ unit.name }} as decimal(26, 6)) as quantity,
        {% if unit.is_optional is defined -%}
        false as is_price_missing,
        {% else -%}
        case
            when numbered.contract_price_set_id is null
                then
                    prices.price_set_id is null
                    or {{ is_unpriced(unit, "numbered") }}
            else {{ is_unpriced(unit, "numbered", "contracts") }}
        end as is_price_missing,
        {% endif -%}
        case when {{ is_billed(unit, "numbered") }} then prices.{{ unit.name }}_price end
            as list_price,
        case
            when numbered.contract_price_set_id is null then null
            when {{ is_billed(unit, "numbered", "contracts") }} then contracts.{{ unit.name }}_price
        end as contract_price,
        coalesce(contracts.is_{{ unit.name }}_contracted, false) as is_contracted,
        coalesce(contracts.contract_currency, 'USD') as contract_currency
    from numbered
    left join prices on numbered.price_set_id = prices.price_set_id
    left join contracts on numbered.contract_price_set_id = contracts.contract_price_set_id
    where numbered.{{ unit.name }} > 0
    {{ "union all" if not loop.last }}
    {% endfor %}
),

priced as (
    select
        *,
        case
            when is_price_missing then null
            when contract_price is not null then contract_price
            else coalesce(list_price, 0)
        end as unit_price,
        case when is_contracted then contract_currency else 'USD' end as price_currency
    from quantities
),

costed as (
    select
        priced.*,
        {{ sliced_cost('priced.quantity', 'priced.unit_price') }} as priced_cost,
        {{ sliced_cost('priced.quantity', 'priced.list_price') }} as listed_cost,
        case
            when priced.price_currency = numbered.currency then 1
            when priced.is_contracted then numbered.contract_fx_rate
            else numbered.fx_rate
        end as price_fx_rate,
        numbered.slice_number,
        numbered.records,
        numbered.fx_rate,
        numbered.markup_rate,
        numbered.is_billed_by_unit,
        numbered.is_billed_cost_known
    from priced
    inner join numbered on priced.group_number = numbered.group_number
),

booked as (
    select
        *,
        {{ converted('priced_cost', 'price_fx_rate') }} as provider_cost,
        {{ converted('listed_cost', 'fx_rate') }} as list_cost
    from costed
),

unit_lines as (
    select
        group_number,
        slice_number,
        records,
        unit,
        quantity,
        unit_price,
        price_currency,
        priced_cost,
        provider_cost,
        list_cost,
        case
            when not is_billed_cost_known then null
            when is_billed_by_unit then {{ converted('provider_cost', '(1 + markup_rate)') }}
            else 0
        end as billed_cost
    from booked
),

sums as (
    select
        group_number,
        sum(provider_cost) as provider_cost,
        sum(list_cost) as list_cost,
        sum(billed_cost) as billed_cost
    from unit_lines
    group by group_number
),

-- What the units do not carry: fees, recorded charges, and what rounding leaves of sums of records.
rests as (
    select
        numbered.group_number,
        numbered.slice_number,
        numbered.currency,
        numbered.records,
        sums.group_number is not null as has_units,
        case
            when numbered.is_cost_known
                then numbered.provider_cost - coalesce(sums.provider_cost, 0)
        end as provider_cost,
        numbered.list_cost - coalesce(sums.list_cost, 0) as list_cost,
        case
            when numbered.is_billed_cost_known
                then numbered.billed_cost - coalesce(sums.billed_cost, 0)
        end as billed_cost
    from numbered
    left join sums on numbered.group_number = sums.group_number
    where numbered.usage_class not in ('failed', 'retry')
),

dusty as (
    select
        group_number,
        case when abs(provider_cost) < {{ dust() }} then provider_cost else 0 end as provider_cost,
        case when abs(list_cost) < {{ dust() }} then list_cost else 0 end as list_cost,
        case when abs(billed_cost) < {{ dust() }} then billed_cost else 0 end as billed_cost
    from rests
    where
        (provider_cost <> 0 and abs(provider_cost) < {{ dust() }})
        or (list_cost <> 0 and abs(list_cost) < {{ dust() }})
        or (billed_cost <> 0 and abs(billed_cost) < {{ dust() }})
),

-- The rounding goes to the dearest unit.
dust as (
    select
        unit_lines.slice_number,
        unit_lines.unit,
        unit_lines.unit_price,
        unit_lines.price_currency,
        case when unit_lines.provider_cost is not null then dusty.provider_cost end
            as provider_cost,
        case when unit_lines.list_cost is not null then dusty.list_cost end as list_cost,
        case when unit_lines.billed_cost is not null then dusty.billed_cost end as billed_cost
    from unit_lines
    inner join dusty on unit_lines.group_number = dusty.group_number
    qualify
        row_number() over (
            partition by unit_lines.group_number
            order by unit_lines.provider_cost desc nulls last, unit_lines.unit asc
        ) = 1
),

lines as (
    select
        unit_lines.slice_number,
        unit_lines.unit,
        unit_lines.quantity,
        unit_lines.unit_price,
        unit_lines.price_currency,
        unit_lines.priced_cost,
        unit_lines.provider_cost,
        unit_lines.list_cost,
        unit_lines.billed_cost,
        unit_lines.records
    from unit_lines
    union all
    select
        slice_number,
        unit,
        cast(null as decimal(26, 6)) as quantity,
        unit_price,
        price_currency,
        cast(null as decimal(38, 18)) as priced_cost,
        provider_cost,
        list_cost,
        billed_cost,
        0 as records
    from dust
    union all
    select
        slice_number,
        'other' as unit,
        cast(null as decimal(26, 6)) as quantity,
        cast(null as decimal(38, 18)) as unit_price,
        currency as price_currency,
        case when abs(provider_cost) >= {{ dust() }} then provider_cost end as priced_cost,
        case when abs(provider_cost) >= {{ dust() }} then provider_cost end as provider_cost,
        cast(null as decimal(38, 18)) as list_cost,
        case
            when abs(billed_cost) >= {{ dust() }} or not has_units then billed_cost
        end as billed_cost,
        records
    from rests
    where
        abs(provider_cost) >= {{ dust() }}
        or abs(billed_cost) >= {{ dust() }}
        or (not has_units and billed_cost <> 0)
),

merged as (
    select
        slice_number,
        price_currency,
        unit,
        unit_price,
        sum(quantity) as quantity,
        sum(case when unit_price is null then quantity end) as unpriced_quantity,
        sum(priced_cost) as priced_cost,
        sum(provider_cost) as provider_cost,
        sum(list_cost) as list_cost,
        sum(billed_cost) as billed_cost,
        sum(records) as records
    from lines
    group by slice_number, price_currency, unit, unit_price
),

final as (
    select
        {% for name in dimensions -%}
        keyed.{{ name }},
        {% endfor -%}
        merged.price_currency,
        merged.unit,
        cast(merged.unit_price as decimal(38, 18)) as unit_price,
        cast(merged.quantity as decimal(26, 6)) as quantity,
        cast(merged.unpriced_quantity as decimal(26, 6)) as unpriced_quantity,
        cast(merged.priced_cost as decimal(38, 18)) as priced_cost,
        cast(merged.provider_cost as decimal(38, 18)) as provider_cost,
        cast(merged.list_cost as decimal(38, 18)) as list_cost,
        cast(merged.billed_cost as decimal(38, 18)) as billed_cost,
        cast(merged.records as bigint) as records
    from merged
    inner join keyed on merged.slice_number = keyed.slice_number
)

select * from final
