-- Grain: one row per account, source, currency it states amounts in, and billing month of which the
-- seed fx_rates lacks a rate into the account's currency, or into the wallet's, or which is none.
-- The amount is in the currency it was stated in: there is no rate into another.

with usage as (
    select * from {{ ref('int_usage__noted') }}
    where
        duplicate_of is null
        and (
            (fx_rate is null and (logged_cost <> 0 or list_cost is null))
            -- An amount that could not be converted, for there is no rate from its currency.
            or (logged_cost <> 0 and gateway_cost is null)
        )
),

wallet_usage as (
    select * from {{ ref('int_wallet__usage') }}
    where debit_cost <> 0 and not is_before_opening
),

transactions as (
    select * from {{ ref('stg_wallet__transactions') }}
),

adjustments as (
    select * from {{ ref('stg_wallet__adjustments') }}
),

payments as (
    select * from {{ ref('int_payments__unified') }}
    where
        credited is null
        and fx_rate is null
        and currency <> wallet_currency
        and not is_before_opening
        -- What undoes a payment lacks the rate of that payment, not one of its own.
        and (movement_type = 'payment' or not has_payment)
),

unknown_currencies as (
    select * from {{ ref('stg_wallet__unknown_currencies') }}
),

subscriptions as (
    select * from {{ ref('int_subscriptions__spread') }}
    where currency <> account_currency and account_amount is null and amount <> 0
),

wallets as (
    select * from {{ ref('int_wallets__described') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

posted as (
    select
        wallet_id,
        source,
        coalesce(window_from_at, occurred_at) as billed_at,
        occurred_at,
        amount,
        currency
    from transactions
    where fx_rate is null and amount <> 0
    union all
    select
        wallet_id,
        source,
        posted_at as billed_at,
        posted_at as occurred_at,
        amount,
        currency
    from adjustments
    where amount <> 0
),

stated as (
    select
        account_id,
        billing_month,
        'source_currency' as subject_type,
        source,
        logged_currency as currency,
        usage_date as rate_date,
        logged_cost as amount,
        started_at as evidence_at,
        'marts.usage_records where (fx_rate is null or gateway_cost is null) '
        || 'and logged_currency = ' || {{ as_literal('logged_currency') }}
        || ' and billing_month = ' || {{ as_literal('billing_month') }}
        || ' and account_id = ' || {{ as_literal('account_id') }}
        || ' and source = ' || {{ as_literal('source') }} as evidence_rows
    from usage
    union all
    -- A wallet is debited for what accounts use in currencies of their own.
    select
        wallet_usage.account_id,
        wallet_usage.billing_month,
        'wallet_currency' as subject_type,
        wallets.wallet_id as source,
        wallet_usage.currency,
        wallet_usage.usage_date as rate_date,
        wallet_usage.debit_cost as amount,
        cast(wallet_usage.usage_date as timestamp) as evidence_at,
        'marts.usage_records where billing_mode <> ''byok'' and currency = '
        || {{ as_literal('wallet_usage.currency') }}
        || ' and billing_month = ' || {{ as_literal('wallet_usage.billing_month') }}
        || ' and account_id = ' || {{ as_literal('wallet_usage.account_id') }} as evidence_rows
    from wallet_usage
    inner join accounts on wallet_usage.account_id = accounts.account_id
    inner join wallets
        on
            accounts.wallet_id = wallets.wallet_id
            and wallet_usage.currency <> wallets.currency
    left join fx_rates
        on
            wallet_usage.usage_date = fx_rates.rate_date
            and wallet_usage.currency = fx_rates.base_currency
            and wallets.currency = fx_rates.quote_currency
    where fx_rates.rate is null
    union all
    select
        wallets.account_id,
        {{ month_in('posted.billed_at', 'wallets.time_zone') }} as billing_month,
        'source_currency' as subject_type,
        posted.source,
        posted.currency,
        cast(posted.occurred_at as date) as rate_date,
        posted.amount,
        posted.occurred_at as evidence_at,
        'marts.wallet_ledger where amount is null and wallet_id = '
        || {{ as_literal('wallets.wallet_id') }} as evidence_rows
    from posted
    inner join wallets
        on
            posted.wallet_id = wallets.wallet_id
            and posted.currency <> wallets.currency
            and (wallets.opening_at is null or posted.occurred_at >= wallets.opening_at)
    left join fx_rates
        on
            cast(posted.occurred_at as date) = fx_rates.rate_date
            and posted.currency = fx_rates.base_currency
            and wallets.currency = fx_rates.quote_currency
    where fx_rates.rate is null
    union all
    select
        account_id,
        {{ month_in('occurred_at', 'time_zone') }} as billing_month,
        'source_currency' as subject_type,
        processor as source,
        currency,
        cast(occurred_at as date) as rate_date,
        gross as amount,
        occurred_at as evidence_at,
        'marts.exceptions where exception_type = ''unmatched_topup'' and currency = '
        || {{ as_literal('currency') }} as evidence_rows
    from payments
    union all
    -- No currency has this code: the payment was refused, and what it comes to is unknown.
    select
        coalesce(wallets.account_id, 'unassigned') as account_id,
        {{ month_in('unknown_currencies.occurred_at', "coalesce(wallets.time_zone, 'UTC')") }}
            as billing_month,
        'source_currency' as subject_type,
        unknown_currencies.source,
        unknown_currencies.currency,
        cast(unknown_currencies.occurred_at as date) as rate_date,
        null as amount,
        unknown_currencies.occurred_at as evidence_at,
        'audit.quarantine where reason_code = ''unsupported_currency'' and source = '
        || {{ as_literal('unknown_currencies.source') }} as evidence_rows
    from unknown_currencies
    left join wallets
        on
            case
                when unknown_currencies.wallet_id is not null
                    then unknown_currencies.wallet_id = wallets.wallet_id
                else unknown_currencies.payment_customer_id = wallets.payment_customer_id
            end
    union all
    select
        account_id,
        billing_month,
        'seed_currency' as subject_type,
        'subscriptions' as source,
        currency,
        charge_date as rate_date,
        amount,
        cast(charge_date as timestamp) as evidence_at,
        'marts.chargeback where currency = ' || {{ as_literal('currency') }}
        || ' and billing_month = ' || {{ as_literal('billing_month') }}
        || ' and account_id = ' || {{ as_literal('account_id') }} as evidence_rows
    from subscriptions
),

grouped as (
    select
        account_id,
        billing_month,
        subject_type,
        source,
        currency,
        sum(abs(amount)) as amount_at_stake,
        max(evidence_at) as evidence_at,
        'select * from ' || min(evidence_rows) as evidence,
        string_agg(distinct cast(rate_date as varchar), ',' order by cast(rate_date as varchar))
            as evidence_keys
    from stated
    group by account_id, billing_month, subject_type, source, currency
),

described as (
    select
        *,
        source || '/' || currency as subject_id
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='currency_mismatch',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Add the exchange rates of these days to the seed fx_rates.'
        ) }}
    from described
)

select * from final
