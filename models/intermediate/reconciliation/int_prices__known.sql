{{ config(materialized='table') }}
-- Grain: one row per provider, compared model, compared unit, tier, batch, context band, currency,
-- provider account (NULL: any), unit price and validity: every price a bill may have been made at.
-- Prices of providers that have not billed or stated anything yet are left out.

with models as (
    select * from {{ ref('int_models__spelled') }}
    where is_provider_stated
),

listed as (
    select * from {{ ref('price_snapshots') }}
    where region is null
),

contracts as (
    select * from {{ ref('contract_prices') }}
    where unit_price is not null
),

slices as (
    select
        provider,
        provider_account_id,
        model,
        unit,
        service_tier,
        is_batch,
        context_band,
        price_currency,
        unit_price
    from {{ ref('int_usage__sliced') }}
    where
        unit_price is not null
        and quantity is not null
        and provider in (select models.provider from models)
    group by all
),

of_lists as (
    select
        models.provider,
        cast(null as varchar) as provider_account_id,
        models.compared_model as model,
        {{ compared_unit('listed.unit', 'models.provider') }} as unit,
        listed.service_tier,
        listed.is_batch,
        listed.context_band,
        listed.currency,
        listed.unit_price,
        listed.valid_from_at,
        listed.valid_to_at,
        case listed.source
            {% for name in var("price_list_order") -%}
            when '{{ name }}' then {{ loop.index }}
            {% endfor -%}
            else 99
        end as list_rank
    from listed
    inner join models on listed.provider = models.provider and listed.model = models.model
    -- Two units that are compared as one have their own prices; the plain one stands for both.
    where listed.unit not in ('output_reasoning_tokens', 'input_cache_write_unknown_ttl_tokens')
),

of_contracts as (
    select
        models.provider,
        contracts.provider_account_id,
        models.compared_model as model,
        {{ compared_unit('contracts.unit', 'models.provider') }} as unit,
        coalesce(contracts.service_tier, 'standard') as service_tier,
        coalesce(contracts.is_batch, false) as is_batch,
        contracts.context_band,
        contracts.currency,
        cast(
            case contracts.unit_size
                when '1000000'
                    then
                        cast(contracts.unit_price as decimal(25, 12))
                        * cast(0.000001 as decimal(6, 6))
                when '1000'
                    then
                        cast(contracts.unit_price as decimal(25, 15))
                        * cast(0.001 as decimal(3, 3))
                else contracts.unit_price
            end as decimal(38, 18)
        ) as unit_price,
        contracts.valid_from_at,
        coalesce(contracts.valid_to_at, timestamp '9999-12-31 00:00:00') as valid_to_at,
        0 as list_rank
    from contracts
    inner join models
        on
            contracts.provider = models.provider
            and (contracts.model is null or contracts.model = models.model)
    where contracts.unit is not null
),

of_usage as (
    select
        slices.provider,
        slices.provider_account_id,
        coalesce(models.compared_model, slices.model) as model,
        {{ compared_unit('slices.unit', 'slices.provider') }} as unit,
        slices.service_tier,
        slices.is_batch,
        slices.context_band,
        slices.price_currency as currency,
        slices.unit_price,
        timestamp '1970-01-01 00:00:00' as valid_from_at,
        timestamp '1970-01-01 00:00:00' as valid_to_at,
        100 as list_rank
    from slices
    left join models on slices.provider = models.provider and slices.model = models.model
),

final as (
    select * from of_lists
    union
    select * from of_contracts
    union
    select * from of_usage
)

select * from final
