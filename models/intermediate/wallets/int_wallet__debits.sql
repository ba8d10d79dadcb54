-- Grain: one row per wallet and debit window in which the accounts it serves used something.
-- What the window costs, by the accounts' own costs and the day's rates, rounded as the wallet
-- says.
-- A window that a month divides is two: a debit belongs to the month of its usage.

with usage as (
    select * from {{ ref('int_wallet__usage') }}
    where not is_before_opening and records > 0
),

accounts as (
    select * from {{ ref('accounts') }}
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

zones as (
    select distinct time_zone
    from accounts
    where wallet_id is not null
),

-- Once per month and zone, not per window: a conversion costs more than all the rest. Usage is not
-- asked for its months, or who reads some days of it would read all.
calendar as (
    select
        time_zone,
        strftime(unnest(range(date '2020-01-01', date '2040-01-01', interval 1 month)), '%Y-%m')
            as billing_month
    from zones
),

months as (
    select
        billing_month,
        time_zone,
        {{ month_start_at('billing_month', 'time_zone') }} as month_from_at,
        {{ month_end_at('billing_month', 'time_zone') }} as month_to_at
    from calendar
),

served as (
    select
        usage.*,
        wallets.wallet_id,
        wallets.account_id as wallet_account_id,
        wallets.time_zone as wallet_time_zone,
        wallets.currency as wallet_currency,
        wallets.is_configured as is_wallet_known,
        wallets.has_recorded_debits,
        wallets.debit_rounding,
        coalesce(
            months.month_from_at,
            {{ month_start_at('usage.billing_month', 'accounts.time_zone') }}
        ) as month_from_at,
        coalesce(
            months.month_to_at,
            {{ month_end_at('usage.billing_month', 'accounts.time_zone') | indent(12) }}
        ) as month_to_at,
        wallets.opening_at,
        case when usage.currency = wallets.currency then 1 else fx_rates.rate end as fx_rate
    from usage
    inner join accounts on usage.account_id = accounts.account_id
    inner join wallets on accounts.wallet_id = wallets.wallet_id
    left join months
        on
            usage.billing_month = months.billing_month
            and accounts.time_zone = months.time_zone
    left join fx_rates
        on
            usage.usage_date = fx_rates.rate_date
            and usage.currency = fx_rates.base_currency
            and wallets.currency = fx_rates.quote_currency
),

parts as (
    select
        *,
        greatest(window_at, month_from_at, opening_at) as window_from_at,
        least({{ debit_window_end_at('window_at', 'window_minutes') }}, month_to_at)
            as window_to_at,
        {{ money_at_rate('debit_cost', 'fx_rate') | indent(8) }} as wallet_cost
    from served
),

windows as (
    select
        wallet_id,
        -- A window lies in one day: by it a reader of some days reads no others.
        usage_date,
        window_from_at,
        max(window_to_at) as window_to_at,
        any_value(wallet_account_id) as account_id,
        any_value(wallet_time_zone) as time_zone,
        any_value(wallet_currency) as currency,
        any_value(is_wallet_known) as is_wallet_known,
        any_value(has_recorded_debits) as has_recorded_debits,
        any_value(debit_rounding) as debit_rounding,
        cast(sum(records) as bigint) as records,
        cast(sum(records_without_cost) as bigint) as records_without_cost,
        -- Without the rate of one part the debit is unknown; a record without a cost is listed by
        -- itself, and what the others cost stands.
        case
            when not bool_or(debit_cost is not null and wallet_cost is null)
                then cast(sum(wallet_cost) as decimal(38, 18))
        end as usage_cost,
        case
            when bool_or(currency <> wallet_currency) and min(fx_rate) = max(fx_rate)
                then min(fx_rate)
        end as fx_rate
    from parts
    group by wallet_id, usage_date, window_from_at
),

final as (
    select
        *,
        {{ rounded_to_minor_unit('usage_cost', 'currency', 'debit_rounding') | indent(8) }}
            as debit_amount
    from windows
)

select * from final
