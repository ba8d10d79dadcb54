-- Grain: one row per account, key, model and UTC day of attempts after the first that failed and
-- were charged.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where
        duplicate_of is null
        and attempt > 1
        and status = 'failure'
        and (billed_cost > 0 or gateway_cost > 0)
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        api_key_id,
        model,
        usage_date,
        sum(billed_cost) as amount_at_stake,
        max(started_at) as evidence_at,
        string_agg(usage_record_id, ',' order by usage_record_id) as evidence_keys
    from usage
    group by account_id, billing_month, currency, api_key_id, model, usage_date
),

described as (
    select
        *,
        'key_model_day' as subject_type,
        coalesce(api_key_id, '') || '/' || coalesce(model, '') || '/'
        || cast(usage_date as varchar) as subject_id,
        {{ records_with(['account_id', 'billing_month', 'api_key_id', 'model', 'usage_date']) }}
        || ' and attempt > 1 and status = ''failure''' as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='failed_retry',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Limit the retries of this key and model: each failed attempt is charged.'
        ) }}
    from described
)

select * from final
