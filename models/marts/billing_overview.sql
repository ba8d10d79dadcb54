-- Grain: one row per account, billing month and currency: months with spend, and the current one.

with accounts as (
    select * from {{ ref('accounts') }}
),

spend as (
    select
        account_id,
        currency,
        billing_date as spend_date,
        sum(billed_cost) as amount,
        sum(records_without_cost) as records_without_cost
    from {{ ref('int_spend__daily') }}
    group by account_id, currency, billing_date
),

subscriptions as (
    select
        account_id,
        account_currency as currency,
        charge_date as spend_date,
        sum(account_amount) as amount,
        bool_or(account_amount is null) as is_rate_missing
    from {{ ref('int_subscriptions__spread') }}
    group by account_id, account_currency, charge_date
),

wallet_months as (
    select * from {{ ref('wallet_months') }}
),

balances as (
    select * from {{ ref('wallet_balances') }}
),

refusals as (
    select
        account_id,
        billing_month,
        sum(refused_requests) as refused_requests
    from {{ ref('int_wallet__usage') }}
    group by account_id, billing_month
),

exceptions as (
    select
        account_id,
        billing_month,
        count(*) as open_exceptions
    from {{ ref('exceptions') }}
    where status = 'open'
    group by account_id, billing_month
),

-- Whoever has spend, and every account of accounts.csv.
owing as (
    select
        account_id,
        currency
    from spend
    union
    select
        account_id,
        currency
    from subscriptions
    union
    select
        account_id,
        currency
    from accounts
),

clocks as (
    select
        owing.account_id,
        owing.currency,
        accounts.wallet_id,
        cast(
            ({{ as_of() }} at time zone 'UTC') at time zone coalesce(accounts.time_zone, 'UTC')
            as date
        ) as today
    from owing
    left join accounts on owing.account_id = accounts.account_id
),

months as (
    select
        account_id,
        currency,
        cast(date_trunc('month', spend_date) as date) as month_date
    from spend
    union
    select
        account_id,
        currency,
        cast(date_trunc('month', spend_date) as date) as month_date
    from subscriptions
    union
    select
        account_id,
        currency,
        cast(date_trunc('month', today) as date) as month_date
    from clocks
),

periods as (
    select
        clocks.*,
        months.month_date,
        cast(months.month_date + interval 1 month as date) as next_month_date,
        strftime(months.month_date, '%Y-%m') as billing_month,
        date_trunc('month', clocks.today) = months.month_date as is_current
    from months
    inner join clocks
        on months.account_id = clocks.account_id and months.currency = clocks.currency
    where months.month_date <= clocks.today
),

used as (
    select
        periods.account_id,
        periods.currency,
        periods.billing_month,
        sum(case when spend.spend_date <= periods.today then spend.amount end) as usage_cost,
        sum(case when spend.spend_date < periods.today then spend.amount end)
            as before_today_amount,
        sum(case when spend.spend_date = periods.today then spend.amount end) as today_amount,
        sum(spend.records_without_cost) as records_without_cost
    from periods
    inner join spend
        on
            periods.account_id = spend.account_id
            and periods.currency = spend.currency
            and periods.month_date <= spend.spend_date
            and periods.next_month_date > spend.spend_date
    group by periods.account_id, periods.currency, periods.billing_month
),

paid as (
    select
        periods.account_id,
        periods.currency,
        periods.billing_month,
        bool_or(subscriptions.is_rate_missing and subscriptions.spend_date <= periods.today)
            as is_unknown_so_far,
        sum(case when subscriptions.spend_date <= periods.today then subscriptions.amount end)
            as subscription_cost,
        case when not bool_or(subscriptions.is_rate_missing) then sum(subscriptions.amount) end
            as month_subscription_cost
    from periods
    inner join subscriptions
        on
            periods.account_id = subscriptions.account_id
            and periods.currency = subscriptions.currency
            and periods.month_date <= subscriptions.spend_date
            and periods.next_month_date > subscriptions.spend_date
    group by periods.account_id, periods.currency, periods.billing_month
),

recent as (
    select
        spend.account_id,
        spend.currency,
        spend.spend_date,
        spend.amount,
        clocks.today
    from spend
    inner join clocks
        on spend.account_id = clocks.account_id and spend.currency = clocks.currency
),

weekday_means as (
    {{ weekday_means('recent', ['account_id', 'currency']) }}
),

ages as (
    select
        account_id,
        currency,
        min(spend_date) as first_spend_date
    from recent
    group by account_id, currency
),

days_left as (
    select
        account_id,
        currency,
        today,
        cast(unnest(range(today, next_month_date, interval 1 day)) as date) as left_date
    from periods
    where is_current
),

expected as (
    select
        days_left.account_id,
        days_left.currency,
        sum(case when days_left.left_date > days_left.today then weekday_means.mean_amount end)
            as later_amount,
        sum(case when days_left.left_date = days_left.today then weekday_means.mean_amount end)
            as today_amount
    from days_left
    left join weekday_means
        on
            days_left.account_id = weekday_means.account_id
            and days_left.currency = weekday_means.currency
            and dayofweek(days_left.left_date) = weekday_means.weekday
    group by days_left.account_id, days_left.currency
),

-- The balance at the end of a month: that of the last month with entries up to it.
month_ends as (
    select
        periods.account_id,
        periods.currency,
        periods.billing_month,
        arg_max(wallet_months.closing_balance, wallet_months.billing_month) as balance_amount
    from periods
    inner join wallet_months
        on
            periods.wallet_id = wallet_months.wallet_id
            and periods.billing_month >= wallet_months.billing_month
    group by periods.account_id, periods.currency, periods.billing_month
),

joined as (
    select
        periods.*,
        balances.currency as balance_currency,
        balances.runway_days,
        month_ends.balance_amount as month_end_balance,
        balances.balance_amount as current_balance,
        coalesce(used.usage_cost, 0) as usage_cost,
        case
            when not coalesce(paid.is_unknown_so_far, false)
                then coalesce(paid.subscription_cost, 0)
        end as subscription_cost,
        case when paid.account_id is null then 0 else paid.month_subscription_cost end
            as month_subscription_cost,
        coalesce(used.before_today_amount, 0) as before_today_amount,
        coalesce(used.today_amount, 0) as today_amount,
        coalesce(used.records_without_cost, 0) as records_without_cost,
        coalesce(expected.later_amount, 0) as later_amount,
        coalesce(expected.today_amount, 0) as expected_today_amount,
        coalesce(refusals.refused_requests, 0) as refused_requests,
        coalesce(exceptions.open_exceptions, 0) as open_exceptions,
        case
            when not periods.is_current then 'actual'
            when ages.first_spend_date <= periods.today - 14 then 'weekday_mean'
            else 'run_rate'
        end as projection_method
    from periods
    left join balances on periods.wallet_id = balances.wallet_id
    left join month_ends
        on
            periods.account_id = month_ends.account_id
            and periods.currency = month_ends.currency
            and periods.billing_month = month_ends.billing_month
    left join used
        on
            periods.account_id = used.account_id
            and periods.currency = used.currency
            and periods.billing_month = used.billing_month
    left join paid
        on
            periods.account_id = paid.account_id
            and periods.currency = paid.currency
            and periods.billing_month = paid.billing_month
    left join expected
        on
            periods.account_id = expected.account_id
            and periods.currency = expected.currency
            and periods.is_current
    left join ages
        on periods.account_id = ages.account_id and periods.currency = ages.currency
    left join refusals
        on
            periods.account_id = refusals.account_id
            and periods.billing_month = refusals.billing_month
    left join exceptions
        on
            periods.account_id = exceptions.account_id
            and periods.billing_month = exceptions.billing_month
),

projected as (
    select
        *,
        case projection_method
            when 'actual' then cast(usage_cost as decimal(38, 18))
            when 'weekday_mean'
                then cast(
                    before_today_amount + greatest(today_amount, expected_today_amount)
                    + later_amount as decimal(38, 18)
                )
            else {{ run_rate(
                'usage_cost', '(today - month_date + 1)', '(next_month_date - month_date)'
            ) | indent(16) }}
        end as projected_usage_cost
    from joined
),

final as (
    select
        account_id,
        billing_month,
        currency,
        cast(
            case when is_current then current_balance else month_end_balance end as decimal(38, 18)
        ) as balance_amount,
        balance_currency,
        cast(usage_cost + subscription_cost as decimal(38, 18)) as month_to_date_cost,
        cast(usage_cost as decimal(38, 18)) as usage_cost,
        cast(subscription_cost as decimal(38, 18)) as subscription_cost,
        cast(projected_usage_cost + month_subscription_cost as decimal(38, 18))
            as projected_month_cost,
        projection_method,
        case
            when is_current and runway_days < 36500
                then today + cast(floor(runway_days) as integer)
        end as run_out_date,
        cast(refused_requests as bigint) as refused_requests,
        cast(open_exceptions as bigint) as open_exceptions,
        cast(records_without_cost as bigint) as records_without_cost,
        {{ as_of() }} as as_of_at
    from projected
)

select * from final
