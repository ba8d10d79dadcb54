-- Grain: one row per provider account and UTC day on which the gateway recorded less of the
-- provider's cost than capture_rate says it should.

with days as (
    select * from {{ ref('provider_reconciliation') }}
    where unit is distinct from 'requests'
),

summed as (
    select
        provider_account_id,
        provider_date,
        currency,
        bool_and(is_final) as is_final,
        sum(
            case
                when unit in ('tax', 'fee', 'credit', 'commitment') then 0
                else coalesce(cost_amount, usage_amount, 0)
            end
        ) as stated_amount,
        coalesce(sum(gateway_amount), 0) as recorded_amount,
        count(*) as slices
    from days
    group by provider_account_id, provider_date, currency
),

accounts as (
    select * from {{ ref('int_provider_accounts__owned') }}
),

low as (
    select
        summed.*,
        coalesce(accounts.account_id, 'unassigned') as account_id
    from summed
    left join accounts on summed.provider_account_id = accounts.provider_account_id
    where
        summed.is_final
        and summed.recorded_amount
        < cast(summed.stated_amount as decimal(26, 12))
        * cast({{ var('capture_rate') }} as decimal(12, 6))
),

described as (
    select
        account_id,
        strftime(provider_date, '%Y-%m') as billing_month,
        currency,
        stated_amount - recorded_amount as amount_at_stake,
        'provider_account_day' as subject_type,
        provider_account_id || '/' || cast(provider_date as varchar) as subject_id,
        cast(slices as varchar) as evidence_keys,
        'select * from marts.provider_reconciliation where provider_account_id = '
        || {{ as_literal('provider_account_id') }}
        || ' and provider_date = ' || {{ as_literal('cast(provider_date as varchar)') }} as evidence
    from low
),

final as (
    select
        {{ exception_columns(
            type='capture_rate_low',
            severity='warning',
            is_blocking=false,
            suggested_action='Look for records the gateway lost, or keys that pass it by.'
        ) }}
    from described
)

select * from final
