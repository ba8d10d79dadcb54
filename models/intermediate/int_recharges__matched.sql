-- Grain: one row per request to top a wallet up, with the purchase and the payment it led to.
-- A reference decides; without one, each purchase of a wallet takes the nearest request of its
-- amount before it, within 30 days.

with requests as (
    select * from {{ ref('stg_wallet__recharge_requests') }}
),

decisions as (
    select
        subject_id,
        arg_max(decision, (decided_at, decision_id)) as decision,
        arg_max(ticket, (decided_at, decision_id)) as ticket,
        arg_max(owner, (decided_at, decision_id)) as decided_by,
        max(decided_at) as decided_at
    from {{ ref('stg_decisions__decisions') }}
    where subject_type = 'recharge' and decision in ('approve', 'reject')
    group by subject_id
),

purchases as (
    select * from {{ ref('wallet_ledger') }}
    where entry_type = 'purchase'
),

payments as (
    select * from {{ ref('int_payments__unified') }}
    where movement_type = 'payment'
),

packages as (
    select
        *,
        coalesce(valid_to_date, date '9999-12-31') as until_date
    from {{ ref('credit_packages') }}
),

-- The package a gateway sold, by the credits it brought; of two with as many, the cheaper.
sold as (
    select
        purchases.entry_id,
        packages.package_id,
        packages.price as package_price,
        packages.currency as package_currency
    from purchases
    inner join packages
        on
            purchases.gateway = packages.gateway
            and coalesce(purchases.credited, purchases.amount) = packages.credits
            and cast(purchases.occurred_at as date) >= packages.valid_from_date
            and cast(purchases.occurred_at as date) < packages.until_date
    qualify row_number() over (
        partition by purchases.entry_id order by packages.price, packages.package_id
    ) = 1
),

reviewed as (
    select
        requests.* exclude (status, approval_ticket, reviewer, reviewed_at),
        case decisions.decision
            when 'approve' then 'approved'
            when 'reject' then 'rejected'
            else requests.status
        end as status,
        coalesce(requests.approval_ticket, decisions.ticket) as approval_ticket,
        coalesce(requests.reviewer, decisions.decided_by) as reviewer,
        coalesce(requests.reviewed_at, decisions.decided_at) as reviewed_at
    from requests
    left join decisions on requests.recharge_id = decisions.subject_id
),

-- Everything a request may call its payment by.
payment_names as (
    select
        payment_id,
        unnest(string_split(concat_ws(',', payment_id, payment_reference, other_ids), ','))
            as reference
    from payments
),

purchase_names as (
    select
        entry_id,
        payment_reference as reference
    from purchases
    where payment_reference is not null
    union
    select
        entry_id,
        reference
    from purchases
    union
    select
        purchases.entry_id,
        payment_names.reference
    from purchases
    inner join payment_names on purchases.payment_reference = payment_names.payment_id
),

by_reference as (
    select
        reviewed.recharge_id,
        min(purchase_names.entry_id) as entry_id
    from reviewed
    inner join purchase_names on reviewed.payment_reference = purchase_names.reference
    group by reviewed.recharge_id
),

-- A purchase is sought among the requests of what it credited, else of what was paid for it.
asked as (
    select
        wallet_id,
        currency,
        amount,
        recharge_id as event_id,
        requested_at as occurred_at,
        1 as step
    from reviewed
    where payment_reference is null and status in ('requested', 'approved')
),

asked_amounts as (
    select
        wallet_id,
        currency,
        amount
    from asked
    group by wallet_id, currency, amount
),

bought as (
    select
        purchases.wallet_id,
        asked_amounts.currency,
        asked_amounts.amount,
        purchases.entry_id as event_id,
        purchases.occurred_at,
        -1 as step
    from purchases
    inner join asked_amounts
        on
            purchases.wallet_id = asked_amounts.wallet_id
            and (
                (
                    purchases.currency = asked_amounts.currency
                    and coalesce(purchases.credited, purchases.amount) = asked_amounts.amount
                )
                or (
                    purchases.payment_currency = asked_amounts.currency
                    and purchases.gross = asked_amounts.amount
                )
            )
    where purchases.entry_id not in (select by_reference.entry_id from by_reference)
    qualify row_number() over (
        partition by purchases.entry_id
        order by
            coalesce(
                purchases.currency = asked_amounts.currency
                and coalesce(purchases.credited, purchases.amount) = asked_amounts.amount,
                false
            ) desc,
            asked_amounts.currency asc,
            asked_amounts.amount asc
    ) = 1
),

-- Each purchase takes the nearest request before it that none has taken: like brackets, a request
-- opens a level and the purchase that comes down from there closes it.
events as (
    select * from asked
    union all
    select * from bought
),

leveled as (
    select
        *,
        sum(step) over (
            partition by wallet_id, currency, amount
            order by occurred_at asc, step desc, event_id asc
        ) + case when step < 0 then 1 else 0 end as open_requests
    from events
),

neighbored as (
    select
        *,
        lag(event_id) over side_by_side as event_before,
        lag(step) over side_by_side as step_before,
        lag(occurred_at) over side_by_side as occurred_before
    from leveled
    window side_by_side as (
        partition by wallet_id, currency, amount, open_requests
        order by occurred_at asc, step desc, event_id asc
    )
),

by_amount as (
    select
        event_before as recharge_id,
        event_id as entry_id
    from neighbored
    where step < 0 and step_before > 0 and occurred_before + interval 30 day > occurred_at
),

found_entries as (
    select * from by_reference
    union all
    select * from by_amount
),

found_payments as (
    select
        reviewed.recharge_id,
        min(payment_names.payment_id) as payment_id
    from reviewed
    inner join payment_names on reviewed.payment_reference = payment_names.reference
    group by reviewed.recharge_id
),

final as (
    select
        reviewed.*,
        purchases.entry_id as ledger_entry_id,
        coalesce(
            found_payments.payment_id,
            case when purchases.has_payment then purchases.payment_reference end
        ) as payment_id,
        coalesce(purchases.payment_currency, payments.currency) as payment_currency,
        coalesce(purchases.gross, payments.gross) as gross,
        coalesce(purchases.tax, payments.tax) as tax,
        coalesce(purchases.fee, payments.fee) as fee,
        coalesce(purchases.credited, payments.credited) as credited,
        sold.package_id,
        sold.package_price,
        sold.package_currency,
        case
            when
                found_payments.payment_id is null
                and not coalesce(purchases.has_payment, false)
                then 'no_payment'
            when purchases.entry_id is null then 'no_ledger_entry'
            when reviewed.status <> 'approved' then 'no_approval'
            when
                (
                    reviewed.currency = purchases.currency
                    and reviewed.amount = coalesce(purchases.credited, purchases.amount)
                )
                or (
                    reviewed.currency = coalesce(purchases.payment_currency, payments.currency)
                    and reviewed.amount = coalesce(purchases.gross, payments.gross)
                )
                then 'matched'
            else 'amount_differs'
        end as match_status
    from reviewed
    left join found_entries on reviewed.recharge_id = found_entries.recharge_id
    left join purchases on found_entries.entry_id = purchases.entry_id
    left join sold on purchases.entry_id = sold.entry_id
    left join found_payments on reviewed.recharge_id = found_payments.recharge_id
    left join payments on found_payments.payment_id = payments.payment_id
)

select * from final
