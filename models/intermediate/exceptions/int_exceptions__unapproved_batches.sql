-- Grain: one row per account and batch (or key and UTC day, of batches without an id) of a key that
-- may not send batches, unless somebody approved it.

with usage as (
    select
        *,
        coalesce(
            session_id, coalesce(api_key_id, '') || '/' || cast(usage_date as varchar)
        ) as batch_subject
    from {{ ref('int_usage__noted') }}
    where duplicate_of is null and is_batch and not coalesce(is_batch_allowed, false)
),

-- The last word on a batch counts; an approval holds for calls before its valid_to_date.
approvals as (
    select *
    from {{ ref('stg_decisions__decisions') }}
    where subject_type = 'batch' and decision in ('approve', 'reject')
    qualify row_number() over (
        partition by subject_id order by decided_at desc, decision_id desc
    ) = 1
),

grouped as (
    select
        usage.account_id,
        usage.billing_month,
        usage.currency,
        usage.batch_subject,
        min(usage.session_id) as session_id,
        sum(usage.billed_cost) as amount_at_stake,
        max(usage.started_at) as evidence_at,
        string_agg(usage.usage_record_id, ',' order by usage.usage_record_id) as evidence_keys
    from usage
    left join approvals
        on
            usage.batch_subject = approvals.subject_id
            and approvals.decision = 'approve'
            and usage.usage_date < coalesce(approvals.valid_to_date, date '9999-12-31')
    where approvals.subject_id is null
    group by usage.account_id, usage.billing_month, usage.currency, usage.batch_subject
),

described as (
    select
        *,
        'batch' as subject_type,
        batch_subject as subject_id,
        {{ records_with(['account_id', 'billing_month', 'session_id']) }}
        || ' and is_batch' as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='unapproved_batch',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Set batch_allowed for the key in the owner map, or decide to approve the batch.'
        ) }}
    from described
)

select * from final
