-- Grain: one row per charged record that an equal one came before, under another id or gateway.

with suspected as (
    select * from {{ ref('int_double_charges__suspected') }}
),

described as (
    select
        account_id,
        billing_month,
        currency,
        billed_cost as amount_at_stake,
        'usage_record' as subject_type,
        usage_record_id as subject_id,
        started_at as evidence_at,
        concat_ws(' ', suspicion, earlier_record_id) as evidence_keys,
        'select * from marts.usage_records where usage_record_id in ('
        || {{ as_literal('earlier_record_id') }} || ', ' || {{ as_literal('usage_record_id') }}
        || ')' as evidence
    from suspected
),

final as (
    select
        {{ exception_columns(
            type='suspected_double_charge',
            severity='warning',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Ask who made the call whether it was made twice on purpose: approve it if so, dispute it if not (marts.disputes).'
        ) }}
    from described
)

select * from final
