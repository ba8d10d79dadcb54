-- Grain: one row per gateway, model, unit without a price, and billing month.
-- A record counts at the first of its units that lacks a price, so that no amount counts twice.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    -- What only lacks an exchange rate is a currency_mismatch.
    where duplicate_of is null and cost_status = 'unpriced' and unpriced_unit is not null
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        gateway,
        coalesce(model, '') as model,
        unpriced_unit,
        nullif(sum(case when gateway_cost > 0 then gateway_cost else 0 end), 0) as amount_at_stake,
        max(started_at) as evidence_at,
        cast(count(*) as varchar) as evidence_keys
    from usage
    group by account_id, billing_month, currency, gateway, coalesce(model, ''), unpriced_unit
),

described as (
    select
        *,
        'model_unit' as subject_type,
        gateway || '/' || model || '/' || unpriced_unit as subject_id,
        'select * from marts.usage_records where cost_status = ''unpriced'''
        || ' and billing_month = ' || {{ as_literal('billing_month') }}
        || ' and gateway = ' || {{ as_literal('gateway') }}
        || ' and coalesce(model, '''') = ' || {{ as_literal('model') }}
        || ' and unpriced_unit = ' || {{ as_literal('unpriced_unit') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='unpriced_usage',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Add the price of this unit: drop a price_catalog file that has it.'
        ) }}
    from described
)

select * from final
