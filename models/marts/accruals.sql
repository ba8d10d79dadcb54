-- Grain: one row per account, provider account, billing month, cost center and currency (contract,
-- table T7): what providers are owed for and have not invoiced yet.
-- Usage that a gateway takes from a wallet is paid already and accrues nothing.
-- An invoice, or a credit note, is divided over the months and owners it covers by what was
-- accrued, exactly, in its own currency; in another than the account's it is booked at the rate of
-- the day it was issued, else of its last day. What rates moved since the usage is fx_amount, a
-- part of it.

with spend as (
    select * from {{ ref('int_spend__daily') }}
    where billing_mode <> 'subscription'
),

accounts as (
    select * from {{ ref('accounts') }}
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

invoices as (
    select
        vendor || '/' || invoice_number as invoice_number,
        provider_account_id,
        currency as invoice_currency,
        cast(issued_at as date) as issued_date,
        period_end,
        strftime(period_start, '%Y-%m') as first_month,
        strftime(period_end, '%Y-%m') as last_month,
        -- A credit note takes back, whichever sign it is written with.
        case
            when invoice_type = 'credit_note'
                then -abs(coalesce(subtotal, total - coalesce(tax, 0)))
            else coalesce(subtotal, total - coalesce(tax, 0))
        end as amount,
        invoice_type = 'invoice' as is_invoice
    from {{ ref('invoices') }}
    where
        is_usage
        and invoice_type in ('invoice', 'credit_note')
        and superseded_by_invoice_number is null
        and coalesce(approval_status, '') <> 'rejected'
),

days as (
    select
        spend.account_id,
        spend.provider_account_id,
        strftime(spend.billing_date, '%Y-%m') as billing_month,
        spend.billing_date,
        spend.cost_center,
        spend.currency,
        sum(spend.provider_cost) as accrued_amount
    from spend
    left join accounts on spend.account_id = accounts.account_id
    where accounts.wallet_id is null or spend.is_owed_to_provider
    group by all
),

accrued as (
    select
        account_id,
        provider_account_id,
        billing_month,
        cost_center,
        currency,
        sum(accrued_amount) as accrued_amount
    from days
    group by account_id, provider_account_id, billing_month, cost_center, currency
),

-- The rates at which the days of a month were accrued, on average by what each of them cost.
accrual_rates as (
    select
        days.account_id,
        days.provider_account_id,
        days.billing_month,
        days.cost_center,
        days.currency,
        fx_rates.base_currency as invoice_currency,
        sum({{ in_millionths(money_at_rate('days.accrued_amount', 'fx_rates.rate')) }})
            as rated_millionths,
        sum({{ in_millionths('days.accrued_amount') }}) as accrued_millionths
    from days
    inner join fx_rates
        on
            days.billing_date = fx_rates.rate_date
            and days.currency = fx_rates.quote_currency
    group by all
),

rated as (
    select
        * exclude (rated_millionths, accrued_millionths),
        case
            when accrued_millionths > 0
                then cast(
                    cast(rated_millionths * 1000000 // accrued_millionths as decimal(18, 0))
                    * cast(0.000001 as decimal(6, 6)) as decimal(18, 12)
                )
        end as accrual_rate
    from accrual_rates
),

addressed as (
    select
        accrued.*,
        invoices.invoice_number,
        invoices.invoice_currency,
        invoices.amount,
        invoices.is_invoice,
        case
            when accrued.currency = invoices.invoice_currency then 1
            else coalesce(at_issue.rate, at_end.rate)
        end as fx_rate,
        case
            when accrued.currency <> invoices.invoice_currency then rated.accrual_rate
        end as accrual_rate
    from accrued
    inner join invoices
        on
            accrued.provider_account_id = invoices.provider_account_id
            and accrued.billing_month >= invoices.first_month
            and accrued.billing_month <= invoices.last_month
    left join fx_rates as at_issue
        on
            invoices.issued_date = at_issue.rate_date
            and invoices.invoice_currency = at_issue.base_currency
            and accrued.currency = at_issue.quote_currency
    left join fx_rates as at_end
        on
            invoices.period_end = at_end.rate_date
            and invoices.invoice_currency = at_end.base_currency
            and accrued.currency = at_end.quote_currency
    left join rated
        on
            accrued.account_id = rated.account_id
            and accrued.provider_account_id = rated.provider_account_id
            and accrued.billing_month = rated.billing_month
            and accrued.cost_center is not distinct from rated.cost_center
            and accrued.currency = rated.currency
            and invoices.invoice_currency = rated.invoice_currency
),

covered as (
    select
        *,
        {{ in_last_decimals('amount') }} as invoice_places,
        abs({{ in_last_decimals('amount') }}) as places,
        -- In the invoice's currency, so that accounts of several weigh alike.
        case
            when fx_rate = 1 then {{ in_last_decimals('coalesce(accrued_amount, 0)') }}
            else cast(
                {{ in_last_decimals('coalesce(accrued_amount, 0)') }} // 1000000
                * 1000000000000 // cast(fx_rate * 1000000 as hugeint) as hugeint
            )
        end as known_weight
    from addressed
    -- Without a rate an accrual stays open; currency_mismatch asks for the rate.
    where fx_rate * 1000000 >= 1
),

counted as (
    select
        *,
        sum(known_weight) over (partition by invoice_number) as known_weights,
        count(*) over (partition by invoice_number) as part_count
    from covered
),

weighed as (
    select
        *,
        -- Where nothing is known of what was used, all bear alike.
        case when known_weights > 0 then known_weight else 1 end as weight,
        case when known_weights > 0 then known_weights else part_count end as total_weight
    from counted
),

divided as (
    select
        {{ share_by_long_division('places', 'weight', 'cast(total_weight as hugeint)') }},
        *
    from weighed
),

ranked as (
    select
        *,
        places - sum(quotient) over (partition by invoice_number) as left_over,
        row_number() over (
            partition by invoice_number
            order by
                remainder desc nulls last, billing_month asc nulls last,
                account_id asc nulls last, cost_center asc nulls last
        ) as place_in_line
    from divided
),

parts as (
    select
        *,
        {{ from_last_decimals(
            'cast(sign(invoice_places) * (quotient + case when place_in_line <= left_over then 1 '
            ~ 'else 0 end) as hugeint)'
        ) }} as part_amount
    from ranked
),

booked as (
    select
        *,
        {{ money_at_rate('part_amount', 'fx_rate') | indent(8) }} as invoiced_amount,
        {{ money_at_rate('part_amount', 'coalesce(accrual_rate, fx_rate)') | indent(8) }}
            as invoiced_at_accrual
    from parts
),

invoiced as (
    select
        account_id,
        provider_account_id,
        billing_month,
        cost_center,
        currency,
        sum(invoiced_amount) as invoiced_amount,
        sum(invoiced_amount - invoiced_at_accrual) as fx_amount,
        -- A credit note alone ends no waiting for the invoice.
        bool_or(is_invoice) as is_invoiced,
        string_agg(invoice_number, ',' order by invoice_number) as invoice_number
    from booked
    group by account_id, provider_account_id, billing_month, cost_center, currency
),

final as (
    select
        accrued.account_id,
        accrued.provider_account_id,
        accrued.billing_month,
        accrued.cost_center,
        accrued.currency,
        cast(accrued.accrued_amount as decimal(38, 18)) as accrued_amount,
        cast(invoiced.invoiced_amount as decimal(38, 18)) as invoiced_amount,
        cast(invoiced.fx_amount as decimal(38, 18)) as fx_amount,
        cast(
            case when coalesce(invoiced.is_invoiced, false) then accrued.accrued_amount else 0 end
            as decimal(38, 18)
        ) as reversed_amount,
        case when coalesce(invoiced.is_invoiced, false) then 'reversed' else 'open' end as status,
        invoiced.invoice_number
    from accrued
    left join invoiced
        on
            accrued.account_id = invoiced.account_id
            and accrued.provider_account_id = invoiced.provider_account_id
            and accrued.billing_month = invoiced.billing_month
            and accrued.cost_center is not distinct from invoiced.cost_center
            and accrued.currency = invoiced.currency
)

select * from final
