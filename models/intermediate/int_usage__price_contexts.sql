{{ config(materialized='incremental', incremental_strategy='touched_days') }}
-- Grain: one row per UTC day and context in which something was priced, or is compared with:
-- provider, model, tier, batch, size of input, region, as the gateways wrote them. Compared with
-- are the standard tier, the model that was asked for where another served, and the account's
-- baseline model. Days are kept so that a context goes when its last record does.

with usage as (
    select * from {{ ref('int_usage__classified') }}
    where price_model is not null and {{ in_touched_days('started_at') }}
),

owners as (
    select * from {{ ref('int_owners__resolved') }}
    where baseline_model is not null and {{ in_touched_days('usage_date') }}
),

seen as (
    select distinct
        cast(started_at as date) as usage_date,
        gateway,
        model_group,
        case
            when attempted_fallbacks > 0 and original_model_group <> model_group
                then original_model_group
        end as asked_model,
        {{ price_context() | join(',\n        ') }}
    from usage
),

baselines as (
    select distinct
        usage_date,
        baseline_model
    from owners
),

contexts as (
    select
        usage_date,
        {{ price_context() | join(',\n        ') }}
    from seen
    union
    select
        usage_date,
        price_provider,
        price_model,
        'standard' as service_tier,
        is_batch,
        context_above_tokens,
        price_region
    from seen
    where service_tier <> 'standard'
    union
    -- An alias may be the model's own name, and may name another model on the same day.
    select
        usage_date,
        cast(null as varchar) as price_provider,
        asked_model as price_model,
        service_tier,
        is_batch,
        context_above_tokens,
        price_region
    from seen
    where asked_model is not null
    union
    select
        seen.usage_date,
        served.price_provider,
        served.price_model,
        seen.service_tier,
        seen.is_batch,
        seen.context_above_tokens,
        seen.price_region
    from seen
    inner join seen as served
        on
            seen.usage_date = served.usage_date
            and seen.gateway = served.gateway
            and seen.asked_model = served.model_group
    where served.asked_model is null
    union
    select
        seen.usage_date,
        cast(null as varchar) as price_provider,
        baselines.baseline_model as price_model,
        'standard' as service_tier,
        seen.is_batch,
        seen.context_above_tokens,
        '' as price_region
    from seen
    inner join baselines on seen.usage_date = baselines.usage_date
)

select * from contexts
