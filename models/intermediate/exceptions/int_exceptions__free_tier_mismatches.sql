-- Grain: one row per account, model, unit and billing month of which one side is free: the gateway
-- charged what has a price of 0, or charged nothing for what has a price.

with differences as (
    select * from {{ ref('int_cost_differences__daily') }}
    where free_unit is not null
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        model,
        free_unit,
        abs(sum(difference)) as amount_at_stake,
        max(last_started_at) as evidence_at,
        concat_ws(' ', sum(records), sum(difference)) as evidence_keys
    from differences
    group by account_id, billing_month, currency, model, free_unit
),

described as (
    select
        *,
        'model_unit' as subject_type,
        coalesce(model, '') || '/' || free_unit as subject_id,
        {{ records_with(['account_id', 'billing_month', 'model']) }}
        || ' and ' || free_unit || ' > 0 and cost_status in (''priced'', ''free'')'
        || ' and (gateway_cost = 0) <> (expected_gateway_cost = 0)' as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='free_tier_mismatch',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='See whether an allowance or a price of 0 holds: correct the price catalog or the contract, or dispute the charge.'
        ) }}
    from described
)

select * from final
