{{ config(materialized='table') }}
-- Grain: one row per provider and name of a model, as gateways, provider pages, bills and invoices
-- write it: the one name under which all of these are compared. A gateway that bills us stands
-- among the providers, for its invoices do not say whose models they name.
-- Spellings of the same words and numbers are one model. A name without a date is the one dated
-- snapshot that is in use beside it, or the newest of several.
-- is_provider_stated: whether anyone else than a gateway says anything of the provider's models.

with names as (
    select
        provider,
        model,
        true as is_ours
    from {{ ref('int_usage__sliced') }}
    group by provider, model
    union all
    select
        gateway as provider,
        model,
        true as is_ours
    from {{ ref('int_usage__sliced') }}
    where payee = gateway and payee is distinct from provider
    group by gateway, model
    union all
    select
        provider,
        model,
        false as is_ours
    from {{ ref('int_provider_usage__unified') }}
    group by provider, model
    union all
    select
        provider,
        model,
        false as is_ours
    from {{ ref('int_provider_costs__unified') }}
    group by provider, model
    union all
    select
        coalesce(gateway, provider) as provider,
        model,
        false as is_ours
    from {{ ref('int_invoice_lines__mapped') }}
    group by coalesce(gateway, provider), model
),

providers as (
    select
        provider,
        bool_or(not is_ours) as is_stated
    from names
    group by provider
),

keyed as (
    select
        provider,
        model,
        bool_or(is_ours) as is_ours,
        {{ model_key('model') }} as model_key,
        {{ model_key('model', true) }} as dated_key
    from names
    where model is not null
    group by provider, model
),

-- Under which dated key each name goes.
merged as (
    select
        *,
        coalesce(
            case
                when dated_key = model_key
                    then max(case when dated_key <> model_key then dated_key end)
                        over (partition by provider, model_key)
            end,
            dated_key
        ) as compared_key
    from keyed
),

final as (
    select
        merged.provider,
        merged.model,
        first_value(merged.model) over (
            partition by merged.provider, merged.compared_key
            order by merged.is_ours desc, length(merged.model) desc, merged.model asc
        ) as compared_model,
        coalesce(providers.is_stated, false) as is_provider_stated
    from merged
    left join providers on merged.provider = providers.provider
)

select * from final
