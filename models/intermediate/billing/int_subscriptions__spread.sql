{{ config(materialized='table', meta={'rows_need': ['subscriptions']}) }}
-- Grain: one row per subscription, kind of charge and day of the account's calendar.
-- Periods count from the first day of validity. A day's part is its period's charge divided by the
-- days of the period, by largest remainder; days before and after the validity cost nothing. Open
-- subscriptions reach to the end of the month of the last usage anybody has, so that the figures
-- follow from files and seeds alone. What a provider account is charged is its account's: by
-- account_scopes of its gateway, else the account that used most of it.

with subscriptions as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as until_date,
        case interval when 'year' then 12 else 1 end as months
    from {{ ref('subscriptions') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

account_scopes as (
    select * from {{ ref('account_scopes') }}
    where scope_type = 'gateway'
),

provider_accounts as (
    select * from {{ ref('provider_accounts') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

spend as (
    select
        billing_date,
        account_id,
        provider_account_id,
        currency,
        sum(billed_cost) as billed_cost,
        sum(provider_cost) as provider_cost
    from {{ ref('int_spend__daily') }}
    group by billing_date, account_id, provider_account_id, currency
),

reached as (
    select
        max(billing_date) as last_date,
        last_day(max(billing_date)) as last_shown_date
    from spend
),

stepped as (
    select
        subscriptions.*,
        reached.last_date,
        least(
            subscriptions.until_date, cast(reached.last_shown_date + interval 1 day as date)
        ) as end_date,
        unnest(range(greatest(
            0,
            date_diff(
                'month',
                subscriptions.valid_from_date,
                least(subscriptions.until_date, reached.last_shown_date)
            ) // subscriptions.months + 1
        ))) as step
    from subscriptions
    cross join reached
),

-- Counted from the first day, not from the period before: a month that began on the 31st has its
-- end on the last day of a shorter one, and the next on the 31st again.
periods as (
    select
        *,
        cast(valid_from_date + to_months(months * step) as date) as period_from_date,
        cast(valid_from_date + to_months(months * (step + 1)) as date) as period_to_date
    from stepped
),

-- An account commits to what usage costs it, a provider account to what the provider charges.
owed as (
    select
        periods.subscription_id,
        periods.period_from_date,
        periods.currency as committed_currency,
        spend.billing_date,
        spend.currency,
        case
            when periods.account_id is not null then spend.billed_cost else spend.provider_cost
        end as owed_cost
    from periods
    inner join spend
        on
            periods.period_from_date <= spend.billing_date
            and periods.period_to_date > spend.billing_date
            and (periods.account_id is null or periods.account_id = spend.account_id)
            and (
                periods.provider_account_id is null
                or periods.provider_account_id = spend.provider_account_id
            )
    where periods.minimum_commitment is not null
),

used as (
    select
        owed.subscription_id,
        owed.period_from_date,
        sum(case
            when owed.currency = owed.committed_currency then owed.owed_cost
            else {{ money_at_rate('owed.owed_cost', 'fx_rates.rate') | indent(12) }}
        end) as amount,
        bool_or(
            owed.currency <> owed.committed_currency and fx_rates.rate is null
        ) as is_rate_missing
    from owed
    left join fx_rates
        on
            owed.billing_date = fx_rates.rate_date
            and owed.currency = fx_rates.base_currency
            and owed.committed_currency = fx_rates.quote_currency
    group by owed.subscription_id, owed.period_from_date
),

charges as (
    select
        periods.*,
        'subscription' as charge_kind,
        periods.amount as period_amount
    from periods
    union all
    -- What is missing to a minimum is known once its period is over: somebody used something later.
    select
        periods.*,
        'minimum_commitment' as charge_kind,
        case
            when not coalesce(used.is_rate_missing, false)
                then greatest(0, periods.minimum_commitment - coalesce(used.amount, 0))
        end as period_amount
    from periods
    left join used
        on
            periods.subscription_id = used.subscription_id
            and periods.period_from_date = used.period_from_date
    where
        periods.minimum_commitment is not null
        and periods.last_date >= periods.period_to_date
        and periods.until_date >= periods.period_to_date
),

days as (
    select
        *,
        period_to_date - period_from_date as period_days,
        cast(unnest(range(
            period_from_date, least(period_to_date, end_date), interval 1 day
        )) as date) as charge_date
    from charges
),

-- Without a row in provider_accounts its id is the provider's name.
named_providers as (
    select
        subscriptions.provider_account_id,
        provider_accounts.gateway,
        coalesce(provider_accounts.provider, subscriptions.provider_account_id) as provider
    from subscriptions
    left join provider_accounts
        on subscriptions.provider_account_id = provider_accounts.provider_account_id
    where subscriptions.provider_account_id is not null
    group by all
),

scoped as (
    select
        days.provider_account_id,
        days.charge_date,
        account_scopes.account_id
    from days
    inner join named_providers on days.provider_account_id = named_providers.provider_account_id
    inner join account_scopes
        on
            (
                named_providers.gateway is null
                or named_providers.gateway = account_scopes.gateway
            )
            and (
                account_scopes.provider is null
                or named_providers.provider = account_scopes.provider
            )
            and days.charge_date >= account_scopes.valid_from_date
            and days.charge_date < coalesce(account_scopes.valid_to_date, date '9999-12-31')
    where days.account_id is null
    -- A scope that names the provider comes before one for all.
    qualify rank() over (
        partition by days.provider_account_id, days.charge_date
        order by account_scopes.provider is null
    ) = 1
),

-- Gateways of several accounts leave it to the usage.
scope_owners as (
    select
        provider_account_id,
        charge_date,
        min(account_id) as account_id
    from scoped
    group by provider_account_id, charge_date
    having count(distinct account_id) = 1
),

used_by as (
    select
        provider_account_id,
        account_id,
        sum(coalesce(provider_cost, 0)) as provider_cost
    from spend
    group by provider_account_id, account_id
),

usage_owners as (
    select
        provider_account_id,
        arg_max(account_id, (provider_cost, account_id)) as account_id
    from used_by
    group by provider_account_id
),

owned_days as (
    select
        days.* exclude (account_id),
        coalesce(
            days.account_id, scope_owners.account_id, usage_owners.account_id, 'unassigned'
        ) as account_id
    from days
    left join scope_owners
        on
            days.provider_account_id = scope_owners.provider_account_id
            and days.charge_date = scope_owners.charge_date
    left join usage_owners on days.provider_account_id = usage_owners.provider_account_id
),

shared as (
    select
        owned_days.subscription_id,
        owned_days.charge_kind,
        owned_days.charge_date,
        strftime(owned_days.charge_date, '%Y-%m') as billing_month,
        owned_days.account_id,
        owned_days.provider_account_id,
        owned_days.cost_center,
        owned_days.description,
        owned_days.period_from_date,
        owned_days.period_to_date,
        {{ equal_share(
            'owned_days.period_amount', 'owned_days.period_days', '(owned_days.charge_date - owned_days.period_from_date)'
        ) | indent(8) }} as amount,
        owned_days.currency,
        coalesce(accounts.currency, owned_days.currency) as account_currency,
        case
            when owned_days.currency = coalesce(accounts.currency, owned_days.currency) then 1
            else fx_rates.rate
        end as fx_rate
    from owned_days
    left join accounts on owned_days.account_id = accounts.account_id
    left join fx_rates
        on
            owned_days.charge_date = fx_rates.rate_date
            and owned_days.currency = fx_rates.base_currency
            and accounts.currency = fx_rates.quote_currency
),

final as (
    select
        subscription_id,
        charge_kind,
        charge_date,
        billing_month,
        account_id,
        provider_account_id,
        cost_center,
        description,
        period_from_date,
        period_to_date,
        amount,
        currency,
        {{ money_at_rate('amount', 'fx_rate') | indent(8) }} as account_amount,
        account_currency,
        cast(fx_rate as decimal(18, 12)) as fx_rate
    from shared
)

select * from final
