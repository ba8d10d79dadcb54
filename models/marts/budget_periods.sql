{{ config(alias='budgets') }}
-- Grain: one row per budget and period, up to that of the last usage anybody has.

with budgets as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as until_date,
        case period when 'month' then 1 when 'quarter' then 3 else 0 end as step_months,
        case period when 'day' then 1 when 'week' then 7 else 0 end as step_days,
        {{ week_shift_days('period') }} as shift_days
    from {{ ref('budgets') }}
),

spent as (
    select * from {{ ref('int_budgets__spent') }}
),

committed as (
    select * from {{ ref('int_subscriptions__spread') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

usage as (
    select * from {{ ref('usage_records') }}
    where duplicate_of is null
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

reached as (
    select max(billing_date) as last_date
    from {{ ref('int_spend__daily') }}
),

-- A budget's clock is its account's; that of any other scope is UTC.
described as (
    select
        budgets.*,
        cast(
            ({{ as_of() }} at time zone 'UTC') at time zone coalesce(accounts.time_zone, 'UTC')
            as date
        ) as today,
        cast(
            date_trunc(budgets.period, budgets.valid_from_date + budgets.shift_days) as date
        ) - budgets.shift_days as first_start_date,
        least(reached.last_date, budgets.until_date - 1) as last_date
    from budgets
    left join accounts on budgets.scope_type = 'account' and budgets.scope_id = accounts.account_id
    cross join reached
),

stepped as (
    select
        *,
        unnest(range(greatest(
            0, date_diff(period, first_start_date + shift_days, last_date + shift_days) + 1
        ))) as step
    from described
),

started as (
    select
        *,
        cast(
            first_start_date + to_months(step_months * step) + to_days(cast(
                step_days * step as integer
            )) as date
        ) as calendar_start_date
    from stepped
),

periods as (
    select
        *,
        greatest(calendar_start_date, valid_from_date) as period_start_date,
        least(
            cast(calendar_start_date + to_months(step_months) + to_days(step_days) as date),
            until_date
        ) as period_end_date
    from started
),

summed as (
    select
        periods.budget_id,
        periods.period_start_date,
        min(spent.account_id) as account_id,
        sum(spent.records_without_cost) as records_without_cost,
        bool_or(spent.is_rate_missing) as is_rate_missing,
        sum(spent.amount) as spent_amount,
        sum(case when spent.spend_date < periods.today then spent.amount end)
            as before_today_amount,
        sum(case when spent.spend_date = periods.today then spent.amount end) as today_amount,
        min(spent.spend_date) as first_spend_date
    from periods
    left join spent
        on
            periods.budget_id = spent.budget_id
            and periods.valid_from_date = spent.valid_from_date
            and periods.period_start_date = spent.period_start_date
    group by periods.budget_id, periods.period_start_date
),

-- Subscriptions and minimum commitments of the account or cost center that fall into the period.
pledged as (
    select
        periods.budget_id,
        periods.period_start_date,
        sum(case
            when committed.account_currency = periods.currency then committed.account_amount
            else {{ money_at_rate('committed.account_amount', 'fx_rates.rate') | indent(12) }}
        end) as committed_amount,
        bool_or(committed.account_amount is null or (
            committed.account_currency <> periods.currency and fx_rates.rate is null
        )) as is_rate_missing
    from periods
    inner join committed
        on
            periods.period_start_date <= committed.charge_date
            and periods.period_end_date > committed.charge_date
            and periods.scope_id = case periods.scope_type
                when 'account' then committed.account_id
                when 'cost_center' then committed.cost_center
            end
    left join fx_rates
        on
            committed.charge_date = fx_rates.rate_date
            and committed.account_currency = fx_rates.base_currency
            and periods.currency = fx_rates.quote_currency
    group by periods.budget_id, periods.period_start_date
),

-- The days of a budget's scope, as far as the budget holds.
recent as (
    select
        described.budget_id,
        described.today,
        spent.spend_date,
        spent.amount
    from described
    inner join spent
        on
            described.budget_id = spent.budget_id
            and described.valid_from_date = spent.valid_from_date
),

weekday_means as (
    {{ weekday_means('recent', ['budget_id']) }}
),

ages as (
    select
        budget_id,
        min(spend_date) as first_spend_date
    from recent
    group by budget_id
),

-- What is left of the periods that today is in, today included.
days_left as (
    select
        budget_id,
        period_start_date,
        today,
        cast(unnest(range(today, period_end_date, interval 1 day)) as date) as left_date
    from periods
    where period_start_date <= today and period_end_date > today
),

expected as (
    select
        days_left.budget_id,
        days_left.period_start_date,
        sum(case when days_left.left_date > days_left.today then weekday_means.mean_amount end)
            as later_amount,
        sum(case when days_left.left_date = days_left.today then weekday_means.mean_amount end)
            as today_amount
    from days_left
    left join weekday_means
        on
            days_left.budget_id = weekday_means.budget_id
            and dayofweek(days_left.left_date) = weekday_means.weekday
    group by days_left.budget_id, days_left.period_start_date
),

joined as (
    select
        periods.*,
        summed.account_id,
        coalesce(summed.records_without_cost, 0) as records_without_cost,
        case
            when not coalesce(summed.is_rate_missing, false)
                then cast(coalesce(summed.spent_amount, 0) as decimal(38, 18))
        end as spent_amount,
        case
            when not coalesce(pledged.is_rate_missing, false)
                then coalesce(pledged.committed_amount, 0)
        end as committed_amount,
        coalesce(summed.before_today_amount, 0) as before_today_amount,
        coalesce(summed.today_amount, 0) as today_amount,
        coalesce(expected.later_amount, 0) as later_amount,
        coalesce(expected.today_amount, 0) as expected_today_amount,
        case
            when periods.period_end_date <= periods.today then 'actual'
            when periods.period_start_date > periods.today then 'actual'
            when ages.first_spend_date <= periods.today - 14 then 'weekday_mean'
            else 'run_rate'
        end as forecast_method
    from periods
    left join summed
        on
            periods.budget_id = summed.budget_id
            and periods.period_start_date = summed.period_start_date
    left join pledged
        on
            periods.budget_id = pledged.budget_id
            and periods.period_start_date = pledged.period_start_date
    left join expected
        on
            periods.budget_id = expected.budget_id
            and periods.period_start_date = expected.period_start_date
    left join ages on periods.budget_id = ages.budget_id
),

shares as (
    select
        budget_id,
        period_start_date,
        try_cast(trim(unnest(string_split(thresholds, ';'))) as decimal(18, 6)) as threshold
    from joined
    where thresholds is not null
),

crossed as (
    select
        joined.budget_id,
        joined.period_start_date,
        max(shares.threshold) as last_threshold
    from joined
    inner join shares
        on
            joined.budget_id = shares.budget_id
            and joined.period_start_date = shares.period_start_date
    where joined.spent_amount >= {{ share_of_budget('shares.threshold', 'joined.amount') }}
    group by joined.budget_id, joined.period_start_date
),

-- The day on which it was crossed, then the record.
run_up as (
    select
        joined.budget_id,
        joined.period_start_date,
        joined.scope_type,
        joined.scope_id,
        joined.currency,
        spent.spend_date,
        {{ share_of_budget('crossed.last_threshold', 'joined.amount') | indent(8) }}
            as threshold_amount,
        coalesce(sum(spent.amount) over (
            partition by joined.budget_id, joined.period_start_date
            order by spent.spend_date
            rows between unbounded preceding and 1 preceding
        ), 0) as amount_before,
        sum(spent.amount) over (
            partition by joined.budget_id, joined.period_start_date
            order by spent.spend_date
            rows unbounded preceding
        ) as amount_after
    from joined
    inner join crossed
        on
            joined.budget_id = crossed.budget_id
            and joined.period_start_date = crossed.period_start_date
    inner join spent
        on
            joined.budget_id = spent.budget_id
            and joined.valid_from_date = spent.valid_from_date
            and joined.period_start_date = spent.period_start_date
),

crossing_days as (
    select *
    from run_up
    where amount_after >= threshold_amount
    qualify row_number() over (
        partition by budget_id, period_start_date order by spend_date
    ) = 1
),

-- A billing day lies in two or three days of UTC.
utc_days as (
    select
        *,
        cast(unnest(range(
            spend_date - interval 1 day, spend_date + interval 2 day, interval 1 day
        )) as date) as usage_date
    from crossing_days
),

records as (
    select
        utc_days.budget_id,
        utc_days.period_start_date,
        utc_days.threshold_amount,
        usage.started_at,
        utc_days.amount_before + sum(case
            when usage.currency = utc_days.currency then usage.billed_cost
            else {{ money_at_rate('usage.billed_cost', 'fx_rates.rate') | indent(12) }}
        end) over (
            partition by utc_days.budget_id, utc_days.period_start_date
            order by usage.started_at
            range unbounded preceding
        ) as amount_so_far
    from utc_days
    inner join usage
        on
            utc_days.usage_date = usage.usage_date
            and utc_days.spend_date = usage.billing_date
            and utc_days.scope_id = case utc_days.scope_type
                when 'key' then usage.api_key_id
                when 'team' then usage.team_id
                when 'project' then usage.project_id
                when 'cost_center' then usage.cost_center
                when 'account' then usage.account_id
                else usage.organization_id
            end
    left join fx_rates
        on
            usage.billing_date = fx_rates.rate_date
            and usage.currency = fx_rates.base_currency
            and utc_days.currency = fx_rates.quote_currency
),

moments as (
    select
        budget_id,
        period_start_date,
        min(started_at) as last_threshold_at
    from records
    where amount_so_far >= threshold_amount
    group by budget_id, period_start_date
),

final as (
    select
        joined.budget_id,
        joined.period_start_date,
        joined.period_end_date,
        joined.scope_type,
        joined.scope_id,
        joined.scope_type || '/' || joined.scope_id as scope,
        coalesce(
            case when joined.scope_type = 'account' then joined.scope_id end,
            joined.account_id,
            'unassigned'
        ) as account_id,
        cast(joined.amount as decimal(38, 18)) as budget_amount,
        joined.spent_amount,
        cast(joined.committed_amount as decimal(38, 18)) as committed_amount,
        case
            when joined.spent_amount is null then null
            when joined.forecast_method = 'actual' then joined.spent_amount
            when joined.forecast_method = 'weekday_mean'
                then cast(
                    joined.before_today_amount
                    + greatest(joined.today_amount, joined.expected_today_amount)
                    + joined.later_amount as decimal(38, 18)
                )
            else {{ run_rate(
                'joined.spent_amount',
                '(joined.today - joined.period_start_date + 1)',
                '(joined.period_end_date - joined.period_start_date)'
            ) | indent(16) }}
        end as forecast_amount,
        joined.forecast_method,
        joined.thresholds,
        cast(joined.soft_limit as decimal(38, 18)) as soft_limit,
        cast(joined.hard_cap as decimal(38, 18)) as hard_cap,
        crossed.last_threshold,
        moments.last_threshold_at,
        joined.spent_amount >= joined.soft_limit as is_soft_limit_reached,
        joined.spent_amount >= joined.hard_cap as is_hard_cap_reached,
        cast(joined.records_without_cost as bigint) as records_without_cost,
        joined.currency
    from joined
    left join crossed
        on
            joined.budget_id = crossed.budget_id
            and joined.period_start_date = crossed.period_start_date
    left join moments
        on
            joined.budget_id = moments.budget_id
            and joined.period_start_date = moments.period_start_date
)

select * from final
