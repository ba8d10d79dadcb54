-- Grain: one row per vendor and invoice number that has lines.

with lines as (
    select * from {{ ref('stg_invoices__lines') }}
),

-- The header is the same on every line: an invoice on which it differs is refused as a whole.
headers as (
    select
        vendor,
        invoice_number,
        invoice_type,
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
        is_usage,
        supersedes_invoice_number,
        approval_status,
        dated_at,
        cast(sum(amount) as decimal(38, 18)) as lines_amount,
        count(*) as line_count,
        min(_load_batch_id) as _load_batch_id,
        min(source) as source
    from lines
    group by all
)

select * from headers
