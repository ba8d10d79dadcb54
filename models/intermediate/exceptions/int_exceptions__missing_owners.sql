-- Grain: one row per account, key (or none) and billing month of usage without a team or without a
-- cost center, or without an account where accounts are kept. A key in no owner table is an
-- orphan_key instead.

with usage as (
    select * from {{ ref('int_usage__keyed_days') }}
),

known_keys as (
    select api_key_id from {{ ref('int_owners__known_keys') }}
),

kept as (
    select count(*) as account_count from {{ ref('accounts') }}
),

grouped as (
    select
        usage.account_id,
        usage.billing_month,
        usage.currency,
        usage.api_key_id,
        sum(usage.billed_cost) as amount_at_stake,
        max(usage.last_started_at) as evidence_at,
        concat_ws(
            ',',
            case when not bool_and(usage.has_team) then 'team' end,
            case when not bool_and(usage.has_cost_center) then 'cost_center' end,
            case when bool_or(usage.account_id = 'unassigned') then 'account' end,
            cast(sum(usage.records) as varchar)
        ) as evidence_keys
    from usage
    cross join kept
    left join known_keys on usage.api_key_id = known_keys.api_key_id
    where
        (usage.api_key_id is null or known_keys.api_key_id is not null)
        and (
            not usage.has_team
            or not usage.has_cost_center
            or (usage.account_id = 'unassigned' and kept.account_count > 0)
        )
    group by usage.account_id, usage.billing_month, usage.currency, usage.api_key_id
),

described as (
    select
        *,
        'api_key' as subject_type,
        coalesce(api_key_id, 'no_key') as subject_id,
        {{ records_with(['account_id', 'billing_month', 'api_key_id']) }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='missing_owner',
            severity='error',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Say whose it is: in the owner map, the teams or the account scopes.'
        ) }}
    from described
)

select * from final
