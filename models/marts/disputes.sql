-- Grain: one row per charge that may be, is or was disputed (contract, table T7).
-- A candidate until somebody decides dispute; won once a credit is found for it, lost when it is
-- refused, or due without one, written_off when somebody decides so.

with dated as (
    select * from {{ ref('int_disputes__decided') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
    where
        amount > 0
        and (
            entry_type = 'usage_refund' or (entry_type = 'adjustment' and request_id is not null)
        )
),

invoice_lines as (
    select * from {{ ref('stg_invoices__lines') }}
    where invoice_type = 'credit_note' and coalesce(line_kind, '') <> 'tax' and amount <> 0
),

-- By the id of the request; else by an id of the dispute in the text, else by the very amount.
credits as (
    select
        entry_id as credit_reference,
        wallet_id,
        currency,
        occurred_at,
        amount,
        request_id,
        gateway,
        concat_ws(' ', reference, description) as words
    from ledger
    union all
    select
        concat_ws('/', vendor, invoice_number, line_no) as credit_reference,
        null as wallet_id,
        currency,
        coalesce(issued_at, dated_at) as occurred_at,
        abs(amount) as amount,
        null as request_id,
        null as gateway,
        concat_ws(' ', description, invoice_number) as words
    from invoice_lines
),

named as (
    select
        dated.dispute_id,
        credits.credit_reference,
        credits.amount,
        coalesce(credits.gateway = dated.gateway, false) as is_same_gateway
    from dated
    inner join credits
        on dated.request_id = credits.request_id and dated.currency = credits.currency
    union all
    select
        dated.dispute_id,
        credits.credit_reference,
        credits.amount,
        false as is_same_gateway
    from dated
    inner join credits
        on
            dated.currency = credits.currency
            and (
                contains(credits.words, dated.dispute_id)
                or (length(dated.request_id) >= 8 and contains(credits.words, dated.request_id))
            )
    where dated.opened_at is not null and credits.request_id is null
),

-- A credit is for one dispute: where several fit, that of the closest amount, then the first id.
given as (
    select
        named.dispute_id,
        named.credit_reference,
        named.amount
    from named
    inner join dated on named.dispute_id = dated.dispute_id
    qualify row_number() over (
        partition by named.credit_reference
        -- Who dropped the wallet's history need not have named the gateway.
        order by
            named.is_same_gateway desc,
            dated.opened_at is null asc,
            abs(coalesce(dated.claimed_amount, 0) - named.amount) asc,
            named.dispute_id asc
    ) = 1
),

unclaimed as (
    select
        dated.*,
        row_number() over (
            partition by dated.wallet_id, dated.currency, dated.claimed_amount
            order by dated.opened_at, dated.dispute_id
        ) as place
    from dated
    left join given on dated.dispute_id = given.dispute_id
    where given.dispute_id is null and dated.opened_at is not null and dated.claimed_amount > 0
),

spare as (
    select
        credits.*,
        row_number() over (
            partition by credits.wallet_id, credits.currency, credits.amount
            order by credits.occurred_at, credits.credit_reference
        ) as place
    from credits
    left join given on credits.credit_reference = given.credit_reference
    where given.credit_reference is null and credits.request_id is null
),

by_amount as (
    select
        unclaimed.dispute_id,
        spare.credit_reference,
        spare.amount
    from unclaimed
    inner join spare
        on
            unclaimed.currency = spare.currency
            and unclaimed.claimed_amount = spare.amount
            and (unclaimed.wallet_id = spare.wallet_id or spare.wallet_id is null)
            and unclaimed.place = spare.place
            and cast(unclaimed.opened_at as date) <= cast(spare.occurred_at as date)
    qualify row_number() over (
        partition by unclaimed.dispute_id order by spare.wallet_id is null, spare.credit_reference
    ) = 1
),

found as (
    select * from given
    union all
    select * from by_amount
),

recovered as (
    select
        dispute_id,
        sum(amount) as recovered_amount,
        string_agg(credit_reference, ',' order by credit_reference) as credit_reference
    from found
    group by dispute_id
),

final as (
    select
        dated.dispute_id,
        dated.exception_id,
        dated.account_id,
        dated.gateway,
        dated.request_id,
        dated.occurred_at,
        dated.reason,
        cast(dated.expected_amount as decimal(38, 18)) as expected_amount,
        cast(dated.charged_amount as decimal(38, 18)) as charged_amount,
        cast(dated.claimed_amount as decimal(38, 18)) as claimed_amount,
        dated.currency,
        dated.evidence,
        case
            when recovered.dispute_id is not null then 'won'
            when dated.decision = 'write_off' then 'written_off'
            when dated.opened_at is null then 'candidate'
            when dated.decision in ('reject', 'approve') then 'lost'
            when dated.due_at <= {{ as_of() }} then 'lost'
            else 'open'
        end as state,
        dated.opened_at,
        dated.due_at,
        cast(recovered.recovered_amount as decimal(38, 18)) as recovered_amount,
        recovered.credit_reference,
        dated.decision_id
    from dated
    left join recovered on dated.dispute_id = recovered.dispute_id
)

select * from final
