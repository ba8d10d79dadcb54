{{ config(materialized='table', meta={'rows_need': ['contract_prices']}) }}
-- Grain: one row per provider account, pricing context and span in which a contract prices a unit
-- of it: the unit price of every unit, by contract where one holds, else by list. Nearest first:
-- the lowest priority, then the contract that says most about what it is for.

{%- set conditions = ["model", "unit", "service_tier", "is_batch", "context_band", "region"] %}

with contracts as (
    select
        *,
        coalesce(valid_to_at, timestamp '9999-12-31 00:00:00') as ends_at,
        coalesce(priority, 1000000000) as priority_rank,
        {% for name in conditions -%}
        case when {{ name }} is null then 0 else 1 end
        {{ "+ " if not loop.last }}
        {%- endfor %} as said
    from {{ ref('contract_prices') }}
),

contexts as (
    select
        {{ price_context() | join(',\n        ') }},
        {{ provider_name('price_provider') }} as provider,
        {{ without_routing_prefix('price_model', 'price_provider') }} as model,
        {{ band_name('context_above_tokens') }} as context_band
    from {{ ref('int_prices__contexts') }}
    where price_provider is not null
),

matched as (
    select
        {% for name in price_context() -%}
        contexts.{{ name }},
        {% endfor -%}
        contracts.contract_price_id,
        contracts.provider_account_id,
        contracts.unit,
        contracts.unit_price,
        contracts.unit_size,
        contracts.discount_rate,
        contracts.currency,
        contracts.valid_from_at,
        contracts.ends_at,
        contracts.priority_rank,
        contracts.said
    from contexts
    inner join contracts
        on
            contexts.provider = contracts.provider
            and (contracts.model is null or contexts.model = contracts.model)
            and (
                contracts.service_tier is null or contexts.service_tier = contracts.service_tier
            )
            and (contracts.is_batch is null or contexts.is_batch = contracts.is_batch)
            and (
                contracts.context_band is null or contexts.context_band = contracts.context_band
            )
            and (contracts.region is null or contexts.price_region = contracts.region)
),

price_sets as (
    select * from {{ ref('price_sets') }}
    where price_model in (select matched.price_model from matched)
),

moments as (
    select
        provider_account_id,
        {{ price_context() | join(', ') }},
        valid_from_at as changes_at
    from matched
    union
    select
        provider_account_id,
        {{ price_context() | join(', ') }},
        ends_at as changes_at
    from matched
    where ends_at < timestamp '9999-12-31 00:00:00'
    union
    -- A discount follows every change of the list.
    select
        matched.provider_account_id,
        {% for name in price_context() -%}
        matched.{{ name }},
        {% endfor -%}
        price_sets.valid_from_at as changes_at
    from matched
    inner join price_sets
        on
            {{ same_price_context("matched", "price_sets") | indent(12) }}
            and matched.valid_from_at < price_sets.valid_from_at
            and matched.ends_at > price_sets.valid_from_at
),

spans as (
    select
        *,
        lead(changes_at, 1, timestamp '9999-12-31 00:00:00') over (
            partition by provider_account_id, {{ price_context() | join(', ') }}
            order by changes_at
        ) as valid_to_at
    from moments
),

units as (
    {% for unit in usage_units() -%}
    select '{{ unit.name }}' as unit
    {{ "union all" if not loop.last }}
    {% endfor %}
),

held as (
    select
        spans.provider_account_id,
        {% for name in price_context() -%}
        spans.{{ name }},
        {% endfor -%}
        spans.changes_at as valid_from_at,
        spans.valid_to_at,
        units.unit as priced_unit,
        matched.contract_price_id,
        matched.currency,
        matched.discount_rate,
        -- Per single unit: a contract quotes 1, 1,000 or 1,000,000 of them.
        cast(
            case matched.unit_size
                when '1000000'
                    then
                        cast(matched.unit_price as decimal(25, 12))
                        * cast(0.000001 as decimal(6, 6))
                when '1000'
                    then
                        cast(matched.unit_price as decimal(25, 15)) * cast(0.001 as decimal(3, 3))
                else matched.unit_price
            end as decimal(38, 18)
        ) as unit_price,
        row_number() over (
            partition by
                spans.provider_account_id,
                {% for name in price_context() -%}
                spans.{{ name }},
                {% endfor -%}
                spans.changes_at, units.unit
            order by
                matched.priority_rank asc,
                matched.said desc,
                matched.valid_from_at desc,
                matched.contract_price_id asc
        ) as rank
    from spans
    inner join matched
        on
            spans.provider_account_id = matched.provider_account_id
            and {{ same_price_context("spans", "matched") | indent(12) }}
            and spans.changes_at >= matched.valid_from_at
            and spans.changes_at < matched.ends_at
    inner join units on matched.unit is null or matched.unit = units.unit
),

pivoted as (
    select
        provider_account_id,
        {{ price_context() | join(',\n        ') }},
        valid_from_at,
        valid_to_at,
        min(currency) filter (where discount_rate is null) as contract_currency,
        {% for unit in usage_units() -%}
        {%- set is_unit = "priced_unit = '" ~ unit.name ~ "'" -%}
        max(case when {{ is_unit }} and discount_rate is null then unit_price end)
            as {{ unit.name }}_contract_price,
        max(case when {{ is_unit }} then discount_rate end) as {{ unit.name }}_discount_rate,
        {% endfor -%}
        -- Two currencies in one record's contract prices add up to no cost.
        count(distinct currency) filter (where discount_rate is null) > 1 as is_in_two_currencies,
        min(contract_price_id) as contract_price_id
    from held
    where rank = 1
    group by
        provider_account_id,
        {{ price_context() | join(',\n        ') }},
        valid_from_at, valid_to_at
),

resolved as (
    select
        pivoted.*,
        {% for unit in usage_units() -%}
        price_sets.{{ unit.name }}_price as {{ unit.name }}_list_price,
        {% endfor -%}
        price_sets.price_set_id as list_price_set_id,
        coalesce(price_sets.is_output_image_token_priced, false)
        or pivoted.output_image_tokens_contract_price is not null as is_output_image_token_priced
    from pivoted
    left join price_sets
        on
            {{ same_price_context("pivoted", "price_sets") | indent(12) }}
            and pivoted.valid_from_at >= price_sets.valid_from_at
            and pivoted.valid_from_at < price_sets.valid_to_at
),

final as (
    select
        md5(
            concat_ws(
                '|', provider_account_id, coalesce(price_provider, ''), price_model, service_tier,
                is_batch, context_above_tokens, price_region, valid_from_at
            )
        ) as contract_price_set_id,
        provider_account_id,
        {{ price_context() | join(',\n        ') }},
        valid_from_at,
        valid_to_at,
        contract_price_id,
        list_price_set_id,
        contract_currency,
        {% for unit in usage_units() -%}
        cast(
            case
                when {{ unit.name }}_contract_price is not null and is_in_two_currencies then null
                when {{ unit.name }}_contract_price is not null then {{ unit.name }}_contract_price
                when {{ unit.name }}_discount_rate is not null
                    then
                        cast({{ unit.name }}_list_price as decimal(23, 18))
                        * cast(1 - {{ unit.name }}_discount_rate as decimal(15, 12))
                else {{ unit.name }}_list_price
            end as decimal(38, 18)
        ) as {{ unit.name }}_price,
        {{ unit.name }}_contract_price is not null as is_{{ unit.name }}_contracted,
        {% endfor -%}
        is_output_image_token_priced
    from resolved
)

select * from final
