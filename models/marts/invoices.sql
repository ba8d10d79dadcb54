{{ config(meta={'rows_need': ['stg_invoices__invoices']}) }}
-- Grain: one row per vendor and invoice number (contract, table T3).

with invoices as (
    select * from {{ ref('stg_invoices__invoices') }}
),

decisions as (
    select
        subject_id,
        arg_max(decision, (decided_at, decision_id)) as decision
    from {{ ref('stg_decisions__decisions') }}
    where subject_type = 'invoice' and decision in ('approve', 'reject', 'dispute', 'write_off')
    group by subject_id
),

successors as (
    select
        vendor,
        supersedes_invoice_number as invoice_number,
        min(invoice_number) as superseded_by_invoice_number
    from invoices
    where supersedes_invoice_number is not null and invoice_type <> 'credit_note'
    group by vendor, supersedes_invoice_number
),

-- The worst of its lines.
reconciled as (
    select
        vendor,
        invoice_number,
        cast(sum(variance_amount) as decimal(38, 18)) as variance_amount,
        -- The contract that all of it is for, where the invoice names none.
        case
            when count(distinct provider_account_id) = 1 and count(*) = count(provider_account_id)
                then min(provider_account_id)
        end as provider_account_id,
        case
            when bool_or(status in ('unexplained', 'unmapped')) then 'unexplained'
            when bool_or(status = 'disputed') then 'disputed'
            when bool_or(status = 'accepted') then 'accepted'
            when bool_or(status = 'explained') then 'explained'
            else 'matched'
        end as status
    from {{ ref('invoice_reconciliation') }}
    group by vendor, invoice_number
),

final as (
    select
        invoices.vendor,
        invoices.invoice_number,
        invoices.invoice_type,
        invoices.issued_at,
        invoices.period_start,
        invoices.period_end,
        invoices.time_zone,
        invoices.currency,
        coalesce(invoices.provider_account_id, reconciled.provider_account_id)
            as provider_account_id,
        invoices.subtotal,
        invoices.tax,
        invoices.credits_applied,
        invoices.total,
        invoices.is_usage,
        invoices.supersedes_invoice_number,
        successors.superseded_by_invoice_number,
        invoices.line_count,
        invoices.lines_amount,
        reconciled.variance_amount,
        coalesce(
            reconciled.status,
            case
                when invoices.is_usage and invoices.invoice_type in ('invoice', 'credit_note')
                    then 'superseded'
                else 'not_applicable'
            end
        ) as reconciliation_status,
        coalesce(
            case decisions.decision
                when 'approve' then 'approved'
                when 'reject' then 'rejected'
                when 'dispute' then 'disputed'
                when 'write_off' then 'written_off'
            end,
            invoices.approval_status
        ) as approval_status
    from invoices
    left join decisions
        on invoices.vendor || '/' || invoices.invoice_number = decisions.subject_id
    left join successors
        on
            invoices.vendor = successors.vendor
            and invoices.invoice_number = successors.invoice_number
    left join reconciled
        on
            invoices.vendor = reconciled.vendor
            and invoices.invoice_number = reconciled.invoice_number
)

select * from final
