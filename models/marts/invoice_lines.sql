{{ config(meta={'rows_need': ['stg_invoices__lines']}) }}
-- Grain: one row per vendor, invoice number and line (contract, table T3).

with lines as (
    select * from {{ ref('stg_invoices__lines') }}
),

reconciled as (
    select
        vendor,
        invoice_number,
        line_no,
        variance_amount,
        status
    from {{ ref('invoice_reconciliation') }}
    where line_no is not null
),

final as (
    select
        lines.vendor,
        lines.invoice_number,
        lines.line_no,
        lines.description,
        lines.quantity,
        lines.unit,
        lines.unit_price,
        lines.amount,
        lines.currency,
        lines.tax_rate,
        lines.line_kind,
        lines.service_start,
        lines.service_end,
        lines.provider_account_id,
        lines.provider_project_id,
        lines.api_key_id,
        lines.model,
        lines.service_tier,
        lines.is_batch,
        lines.is_usage,
        reconciled.variance_amount,
        -- Of documents that bill usage, only those that another replaced have no reconciliation.
        coalesce(
            reconciled.status,
            case
                when not lines.is_usage or lines.invoice_type in ('receipt', 'proforma')
                    then 'not_applicable'
                when lines.line_kind = 'ignore' then 'not_applicable'
                else 'superseded'
            end
        ) as reconciliation_status,
        lines.approval_status
    from lines
    left join reconciled
        on
            lines.vendor = reconciled.vendor
            and lines.invoice_number = reconciled.invoice_number
            and lines.line_no = reconciled.line_no
)

select * from final
