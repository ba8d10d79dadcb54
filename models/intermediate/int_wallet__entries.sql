-- Grain: one row per entry of a wallet's ledger, before its balance is drawn.
-- Where a gateway keeps the wallet and records its purchases, its history is the ledger and
-- payments only explain it; elsewhere payments are posted themselves, once each. Likewise usage:
-- debits that a gateway records are its own, elsewhere usage is debited window by window.

with wallets as (
    select * from {{ ref('int_wallets__described') }}
),

transactions as (
    select * from {{ ref('stg_wallet__transactions') }}
),

adjustments as (
    select * from {{ ref('stg_wallet__adjustments') }}
),

movements as (
    select * from {{ ref('int_payments__unified') }}
),

debits as (
    select * from {{ ref('int_wallet__debits') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

-- Every id by which somebody may name a payment; of two payments with one id, the first by name.
payment_ids as (
    select
        reference,
        min(payment_id) as payment_id
    from (
        select
            payment_id,
            unnest(string_split(concat_ws(',', payment_reference, other_ids), ',')) as reference
        from movements
        where movement_type = 'payment'
    ) as named
    group by reference
),

payments as (
    select
        payment_ids.reference,
        movements.*
    from payment_ids
    inner join movements
        on payment_ids.payment_id = movements.payment_id and movements.movement_type = 'payment'
),

openings as (
    select
        'opening/' || wallet_id as entry_id,
        'opening' as origin,
        wallet_id,
        'adjustment' as entry_type,
        opening_at as occurred_at,
        opening_balance as entry_amount,
        currency as entry_currency,
        'opening_balance' as reference,
        'Balance when the ledger begins' as description
    from wallets
    where opening_at is not null
),

from_gateways as (
    select
        concat_ws('/', 'transaction', transactions.gateway, transactions.transaction_id)
            as entry_id,
        'gateway' as origin,
        transactions.wallet_id,
        transactions.entry_type,
        transactions.occurred_at,
        transactions.amount as entry_amount,
        transactions.currency as entry_currency,
        transactions.transaction_id as reference,
        transactions.description,
        coalesce(payments.payment_id, transactions.payment_reference) as payment_reference,
        payments.payment_id is not null as has_payment,
        transactions.gateway,
        transactions.request_id,
        transactions.window_from_at,
        transactions.window_to_at,
        transactions.balance_after as reported_balance_after,
        transactions.fx_rate,
        -- The processor knows what was paid; the gateway repeats it at best.
        case when transactions.entry_type = 'purchase' then payments.currency end
            as payment_currency,
        case
            when transactions.entry_type = 'purchase'
                then coalesce(payments.gross, transactions.gross)
            else transactions.gross
        end as gross,
        case
            when transactions.entry_type = 'purchase' then coalesce(payments.tax, transactions.tax)
            else transactions.tax
        end as tax,
        case
            when transactions.entry_type = 'purchase' then coalesce(payments.fee, transactions.fee)
            else transactions.fee
        end as fee,
        coalesce(
            transactions.credited,
            case when transactions.entry_type = 'purchase' then transactions.amount end
        ) as credited
    from transactions
    left join payments on transactions.payment_reference = payments.reference
),

from_payments as (
    select
        movements.payment_movement_id as entry_id,
        'payment' as origin,
        movements.wallet_id,
        case movements.movement_type
            when 'payment' then 'purchase'
            when 'refund_reversal' then 'refund'
            else movements.movement_type
        end as entry_type,
        movements.occurred_at,
        movements.credited as entry_amount,
        movements.wallet_currency as entry_currency,
        movements.movement_id as reference,
        case movements.movement_type
            when 'payment' then 'Payment'
            when 'refund' then 'Refund to the payer'
            when 'refund_reversal' then 'Refund that failed'
            when 'dispute_hold' then 'Disputed payment'
            else 'Dispute decided for us'
        end as description,
        movements.payment_id as payment_reference,
        movements.has_payment,
        case
            when movements.movement_type in ('refund_reversal', 'dispute_release')
                then movements.reverses_movement_id
        end as reverses_entry_id,
        movements.currency as payment_currency,
        movements.gross,
        movements.tax,
        movements.fee,
        movements.credited,
        movements.fx_rate
    from movements
    left join wallets on movements.wallet_id = wallets.wallet_id
    where
        movements.wallet_id is not null
        and movements.credited is not null
        -- No gateway's history has a word for disputes.
        and (
            movements.movement_type in ('dispute_hold', 'dispute_release')
            or (
                movements.movement_type in ('payment', 'refund', 'refund_reversal')
                and not coalesce(wallets.has_recorded_purchases, false)
            )
        )
),

from_usage as (
    select
        'usage/' || wallet_id || '/' || strftime(window_from_at, '%Y-%m-%dT%H:%M:%SZ') as entry_id,
        'usage' as origin,
        wallet_id,
        'usage_debit' as entry_type,
        -- Usage is debited when its window is over.
        window_to_at as occurred_at,
        -debit_amount as entry_amount,
        -- Several accounts of one wallet may cost in several currencies: the debit is in its own.
        currency as entry_currency,
        fx_rate,
        records || ' usage records' || case
            when records_without_cost > 0
                then ', ' || records_without_cost || ' of them without a known cost'
            else ''
        end as description,
        usage_date,
        window_from_at,
        window_to_at
    from debits
    where not has_recorded_debits and (debit_amount is null or debit_amount <> 0)
),

by_hand as (
    select
        'adjustment/' || adjustment_id as entry_id,
        'adjustment' as origin,
        wallet_id,
        entry_type,
        posted_at as occurred_at,
        amount as entry_amount,
        currency as entry_currency,
        adjustment_id as reference,
        kind || ': ' || reason as description,
        'adjustment/' || reverses_adjustment_id as reverses_entry_id,
        related_request_id as request_id
    from adjustments
),

entries as (
    select * from openings
    union all by name
    select * from from_gateways
    union all by name
    select * from from_payments
    union all by name
    select * from from_usage
    union all by name
    select * from by_hand
),

in_wallet_currency as (
    select
        entries.* exclude (payment_currency),
        -- What a gateway says of a payment is in the currency of its entry.
        coalesce(
            entries.payment_currency,
            case
                when entries.gross is not null and entries.entry_currency <> wallets.currency
                    then entries.entry_currency
            end
        ) as payment_currency,
        wallets.currency,
        wallets.account_id,
        wallets.time_zone,
        wallets.is_configured as is_wallet_known,
        case
            when entries.entry_currency = wallets.currency then entries.entry_amount
            else {{ money_at_rate(
                'entries.entry_amount', 'coalesce(entries.fx_rate, fx_rates.rate)'
            ) }}
        end as amount_in_wallet_currency,
        case
            when entries.origin <> 'gateway' or entries.entry_currency = wallets.currency
                then entries.credited
            else {{ money_at_rate(
                'entries.credited', 'coalesce(entries.fx_rate, fx_rates.rate)'
            ) }}
        end as credited_in_wallet_currency,
        case
            when entries.entry_currency = wallets.currency then entries.fx_rate
            else coalesce(entries.fx_rate, fx_rates.rate)
        end as booked_fx_rate
    from entries
    inner join wallets on entries.wallet_id = wallets.wallet_id
    left join fx_rates
        on
            entries.entry_currency = fx_rates.base_currency
            and wallets.currency = fx_rates.quote_currency
            and cast(entries.occurred_at as date) = fx_rates.rate_date
    -- What came before the opening is in the opening balance.
    where wallets.opening_at is null or entries.occurred_at >= wallets.opening_at
),

final as (
    select
        entry_id,
        origin,
        wallet_id,
        account_id,
        time_zone,
        is_wallet_known,
        entry_type,
        occurred_at,
        -- A debit belongs to the month of its usage, also where it is booked after midnight.
        {{ month_in('coalesce(window_from_at, occurred_at)', 'time_zone') }} as billing_month,
        -- Beyond this a balance could overflow and stop every run; no wallet holds as much.
        case
            when abs(amount_in_wallet_currency) < 10000000000000000
                then amount_in_wallet_currency
        end as amount,
        currency,
        payment_currency,
        gross,
        tax,
        fee,
        cast(gross - coalesce(fee, 0) as decimal(38, 18)) as net,
        credited_in_wallet_currency as credited,
        booked_fx_rate as fx_rate,
        reference,
        payment_reference,
        coalesce(has_payment, false) as has_payment,
        reverses_entry_id,
        description,
        request_id,
        window_from_at,
        window_to_at,
        reported_balance_after,
        gateway,
        usage_date
    from in_wallet_currency
)

select * from final
