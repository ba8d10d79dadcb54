-- Grain: one row per vendor and invoice number that has lines.

with source as (
    select * from {{ source('invoices', 'invoices__lines') }}
),

{{ newest_invoice_lines() }},

-- The header is the same on every line: an invoice on which it differs is refused as a whole.
headers as (
    select
        vendor,
        invoice_number,
        coalesce(invoice_type, case when total < 0 then 'credit_note' else 'invoice' end)
            as invoice_type,
        issued_at,
        period_start,
        period_end,
        time_zone,
        currency,
        provider_account_id,
        subtotal,
        tax,
        credits_applied,
        total,
        coalesce(is_usage, coalesce(invoice_type, '') <> 'receipt') as is_usage,
        supersedes_invoice_number,
        approval_status,
        dated_at,
        cast(sum(amount) as decimal(38, 18)) as lines_amount,
        count(*) as line_count,
        min(_load_batch_id) as _load_batch_id,
        min(_source) as source
    from newest
    group by all
)

select * from headers
