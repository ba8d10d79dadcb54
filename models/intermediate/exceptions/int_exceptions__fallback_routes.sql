-- Grain: one row per account, alias asked for, model that served instead, and UTC day.
-- At stake is what it cost more than the same units at the price of the model asked for: the one
-- the alias led to on that day, or on the nearest, else the model of that very name.

with records as (
    select * from {{ ref('int_usage__noted') }}
),

-- Read twice, each time a few rows of a wide table: not to be kept as a whole.
price_sets as not materialized (
    select * from {{ ref('price_sets') }}
),

served as (
    select *
    from {{ ref('int_usage__served_days') }}
    qualify row_number() over (
        partition by usage_date, gateway, model_group
        order by records desc, price_model asc, price_provider asc
    ) = 1
),

usage as (
    select
        records.*,
        own.context_above_tokens,
        own.price_region,
        served.price_provider as asked_provider,
        coalesce(served.price_model, records.fallback_from_model) as asked_model
    from records
    left join price_sets as own on records.price_set_id = own.price_set_id
    left join served
        on
            records.gateway = served.gateway
            and records.fallback_from_model = served.model_group
    where
        records.duplicate_of is null
        and records.fallback_from_model is not null
        and (records.status <> 'failure' or records.has_output)
    qualify row_number() over (
        partition by records.usage_record_id
        -- What held on the day or last before it; else what came next.
        order by
            coalesce(served.usage_date > records.usage_date, false) asc,
            abs(date_diff('day', served.usage_date, records.usage_date)) asc
    ) = 1
),

{{ priced_as('asked_provider', 'asked_model', 'usage.service_tier') }},

compared as (
    select
        *,
        billed_cost - {{ converted('listed_cost', 'fx_rate') | indent(8) }} as extra_cost
    from priced
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        fallback_from_model,
        model,
        usage_date,
        case when count(*) = count(extra_cost) then sum(greatest(extra_cost, 0)) end
            as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(usage_record_id, ',' order by usage_record_id) as evidence_keys
    from compared
    group by account_id, billing_month, currency, fallback_from_model, model, usage_date
),

described as (
    select
        *,
        'route_day' as subject_type,
        fallback_from_model || '/' || coalesce(model, '') || '/' || cast(usage_date as varchar)
            as subject_id,
        {{ records_with([
            'account_id', 'billing_month', 'fallback_from_model', 'model', 'usage_date'
        ]) }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='fallback_route',
            severity='info',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='See why the model asked for did not serve: limits, outages, routes.'
        ) }}
    from described
)

select * from final
