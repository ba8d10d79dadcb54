-- Grain: one row per account, gateway, model and UTC day of records whose gateway cost is not what
-- it should be: the charge by the markup rules, or the provider's cost where it only estimates.

with differences as (
    select * from {{ ref('int_cost_differences__daily') }}
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        gateway,
        model,
        usage_date,
        sum(absolute_difference) as amount_at_stake,
        max(last_started_at) as evidence_at,
        concat_ws(' ', sum(records), sum(difference)) as evidence_keys
    from differences
    group by account_id, billing_month, currency, gateway, model, usage_date
),

described as (
    select
        *,
        'model_day' as subject_type,
        gateway || '/' || coalesce(model, '') || '/' || cast(usage_date as varchar) as subject_id,
        {{ records_with(['account_id', 'billing_month', 'gateway', 'model', 'usage_date']) }}
        || ' and cost_status <> ''failed'' and abs(gateway_cost - expected_gateway_cost) > '
        || '{{ var("cost_tolerance") }}' as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='cost_mismatch',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Find out whose prices are right: add the contract, the markup rule or the catalog, or dispute the charge.'
        ) }}
    from described
)

select * from final
