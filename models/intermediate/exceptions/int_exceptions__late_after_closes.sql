-- Grain: one row per account and closed month whose records came or changed after the close, until
-- the month that bears them is closed too.

with adjustments as (
    select * from {{ ref('chargeback_adjustments') }}
),

closed as (
    select * from {{ ref('int_periods__closed') }}
),

moved as (
    select
        adjustments.account_id,
        adjustments.adjusted_month as billing_month,
        max(adjustments.currency) as currency,
        max(adjustments.billing_month) as bearing_month,
        abs(sum(adjustments.amount)) as amount_at_stake,
        concat_ws(
            '/',
            min(adjustments.adjusted_date),
            max(adjustments.adjusted_date),
            sum(adjustments.requests)
        ) as evidence_keys
    from adjustments
    inner join closed
        on
            adjustments.account_id = closed.account_id
            and adjustments.billing_month = closed.open_month
    group by adjustments.account_id, adjustments.adjusted_month
),

described as (
    select
        *,
        'period' as subject_type,
        account_id || '/' || billing_month as subject_id,
        'select * from marts.chargeback_adjustments where account_id = '
        || {{ as_literal('account_id') }} || ' and adjusted_month = '
        || {{ as_literal('billing_month') }} || ' and billing_month = '
        || {{ as_literal('bearing_month') }} as evidence
    from moved
),

final as (
    select
        {{ exception_columns(
            type='late_after_close',
            severity='warning',
            is_blocking=false,
            suggested_action='Tell the owners: the difference is charged in the open month, and the '
            ~ 'closed one stays as it was signed off.'
        ) }}
    from described
)

select * from final
