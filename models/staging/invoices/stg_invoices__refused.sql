-- Grain: one row per vendor and invoice number refused because its amounts do not add up.

with refused as (
    select * from {{ source('audit', 'refused_invoices') }}
    where reason_code = 'invoice_total_mismatch'
),

batches as (
    select * from {{ source('audit', 'load_batches') }}
),

final as (
    select
        refused.vendor,
        refused.invoice_number,
        max(refused.currency) as currency,
        max(refused.dated_at) as dated_at,
        max(abs(refused.computed_amount - refused.stated_amount)) as difference_amount
    from refused
    -- An entry that a person had forgotten, to try the file again, takes its invoices with it.
    inner join batches on refused.load_batch_id = batches.load_batch_id
    group by refused.vendor, refused.invoice_number
)

select * from final
