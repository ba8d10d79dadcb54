-- Grain: one row per account, key that no owner table knows, and billing month of its usage.
-- A key whose rows in an owner map were refused is such a key; its evidence says why they were.

with usage as (
    select * from {{ ref('int_usage__keyed_days') }}
    where api_key_id is not null
),

known_keys as (
    select api_key_id from {{ ref('int_owners__known_keys') }}
),

refused as (
    select
        subject_id as refused_key_id,
        string_agg(cast(line_number as varchar), ',' order by line_number) as refused_lines
    from {{ source('configuration', 'refused_seed_rows') }}
    where seed = 'key_owners' and is_refused
    group by subject_id
),

grouped as (
    select
        usage.account_id,
        usage.billing_month,
        usage.currency,
        usage.api_key_id,
        refused.refused_key_id,
        sum(usage.billed_cost) as amount_at_stake,
        max(usage.last_started_at) as evidence_at,
        concat_ws(' ', cast(sum(usage.records) as varchar), min(refused.refused_lines)) as evidence_keys
    from usage
    left join known_keys on usage.api_key_id = known_keys.api_key_id
    left join refused on usage.api_key_id = refused.refused_key_id
    where known_keys.api_key_id is null
    group by
        usage.account_id, usage.billing_month, usage.currency, usage.api_key_id,
        refused.refused_key_id
),

described as (
    select
        *,
        'api_key' as subject_type,
        api_key_id as subject_id,
        case
            when refused_key_id is null
                then {{ records_with(['account_id', 'billing_month', 'api_key_id']) }}
            else
                'select * from reference.refused_seed_rows where seed = ''key_owners'''
                || ' and subject_id = ' || {{ as_literal('api_key_id') }}
        end as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='orphan_key',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Add the key to the owner map, valid for the days of its use, or revoke it.'
        ) }}
    from described
)

select * from final
