-- Grain: one row per budget, period and limit of it that spend has reached: a threshold, the soft
-- limit or the hard cap.

with periods as (
    select * from {{ ref('budget_periods') }}
    where spent_amount is not null
),

shares as (
    select
        *,
        unnest(string_split(thresholds, ';')) as share_text
    from periods
),

limits as (
    select
        * exclude (share_text),
        trim(share_text) as limit_name,
        {{ share_of_budget(
            'try_cast(trim(share_text) as decimal(18, 6))', 'budget_amount'
        ) | indent(8) }} as limit_amount
    from shares
    union all
    select
        *,
        'soft_limit' as limit_name,
        soft_limit as limit_amount
    from periods
    union all
    select
        *,
        'hard_cap' as limit_name,
        hard_cap as limit_amount
    from periods
),

described as (
    select
        account_id,
        strftime(period_start_date, '%Y-%m') as billing_month,
        currency,
        spent_amount - limit_amount as amount_at_stake,
        'budget' as subject_type,
        concat_ws('/', budget_id, period_start_date, limit_name) as subject_id,
        cast(limit_amount as varchar) as evidence_keys,
        'select * from marts.budgets where budget_id = ' || {{ as_literal('budget_id') }}
        || ' and period_start_date = date ''' || cast(period_start_date as varchar) || ''''
            as evidence
    from limits
    where spent_amount >= limit_amount
),

final as (
    select
        {{ exception_columns(
            type='budget_threshold',
            severity='info',
            is_blocking=false,
            suggested_action='Look at what the budget was spent on; raise it, or lower the spend.'
        ) }}
    from described
)

select * from final
