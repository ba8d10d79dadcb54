-- Grain: one row per payment without a ledger entry or wallet, and per purchase without a payment.

with movements as (
    select * from {{ ref('int_payments__unified') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),

receipts as (
    select * from {{ ref('stg_invoices__invoices') }}
    where not is_usage
),

orphans as (
    select * from {{ ref('stg_wallet__orphaned_topups') }}
),

payments as (
    select * from movements
    where movement_type = 'payment'
),

payment_names as (
    select unnest(string_split(concat_ws(',', payment_reference, other_ids), ',')) as reference
    from payments
),

credited_payments as (
    select distinct payment_reference
    from ledger
    where entry_type = 'purchase' and payment_reference is not null
),

not_credited as (
    select
        payments.account_id,
        {{ month_in('payments.occurred_at', 'payments.time_zone') }} as billing_month,
        payments.currency,
        payments.gross as amount_at_stake,
        'payment' as subject_type,
        payments.payment_id as subject_id,
        concat_ws(' ', payments.wallet_id, payments.is_wallet_known, payments.credited)
            as evidence_keys,
        'select * from marts.wallet_ledger where payment_reference = '
        || {{ as_literal('payments.payment_id') }} as evidence
    from payments
    left join credited_payments on payments.payment_id = credited_payments.payment_reference
    where
        payments.gross > 0
        and not payments.is_before_opening
        and (credited_payments.payment_reference is null or not payments.is_wallet_known)
),

-- A checkout for nobody is in quarantine; another event of the payment may name its wallet.
for_nobody as (
    select
        'unassigned' as account_id,
        strftime(occurred_at, '%Y-%m') as billing_month,
        currency,
        gross as amount_at_stake,
        'payment' as subject_type,
        processor || '/' || payment_reference as subject_id,
        'quarantined' as evidence_keys,
        'select * from audit.quarantine where reason_code = ''orphan_topup'' and contains(fields, '
        || {{ as_literal('payment_reference') }} || ')' as evidence
    from orphans
    where payment_reference not in (select payment_names.reference from payment_names)
),

-- Where no processor and no receipt was ever loaded, nothing can be said of any purchase.
not_paid as (
    select
        account_id,
        billing_month,
        case
            when gross is null then currency else coalesce(payment_currency, currency)
        end as currency,
        coalesce(gross, credited) as amount_at_stake,
        'wallet_entry' as subject_type,
        entry_id as subject_id,
        coalesce(payment_reference, '') as evidence_keys,
        'select * from marts.wallet_ledger where entry_id = ' || {{ as_literal('entry_id') }}
            as evidence
    from ledger
    where
        entry_type = 'purchase'
        and not has_payment
        and ((select count(*) from payments) > 0 or (select count(*) from receipts) > 0)
        and coalesce(payment_reference, '') not in (select receipts.invoice_number from receipts)
),

described as (
    select * from not_credited
    union all
    select * from for_nobody
    union all
    select * from not_paid
),

final as (
    select
        {{ exception_columns(
            type='unmatched_topup',
            severity='error',
            is_blocking=true,
            suggested_action='Find the wallet the money belongs to and credit it, or find the '
            ~ 'payment behind the credit.'
        ) }}
    from described
)

select * from final
