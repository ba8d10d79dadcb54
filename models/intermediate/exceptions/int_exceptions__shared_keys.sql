-- Grain: one row per account, key that serves several workflows or environments, and billing month,
-- unless a rule says how its cost is shared.

with usage as (
    select * from {{ ref('int_usage__keyed_days') }}
    where api_key_id is not null
),

rules as (
    select * from {{ ref('shared_cost_rules') }}
    where cost_kind like 'key:%'
),

unruled as (
    select usage.*
    from usage
    left join rules
        on
            'key:' || usage.api_key_id = rules.cost_kind
            and (usage.account_id = rules.account_id or rules.account_id is null)
            and usage.usage_date >= rules.valid_from_date
            and usage.usage_date < coalesce(rules.valid_to_date, date '9999-12-31')
    where rules.cost_kind is null
),

purposes as (
    select
        account_id,
        billing_month,
        currency,
        api_key_id,
        environment,
        workflow,
        sum(billed_cost) as billed_cost,
        max(last_started_at) as last_started_at
    from unruled
    group by account_id, billing_month, currency, api_key_id, environment, workflow
),

grouped as (
    select
        account_id,
        billing_month,
        currency,
        api_key_id,
        sum(billed_cost) - max(billed_cost) as amount_at_stake,
        max(last_started_at) as evidence_at,
        string_agg(
            coalesce(environment, '') || '/' || coalesce(workflow, ''), ','
            order by environment, workflow
        ) as evidence_keys
    from purposes
    group by account_id, billing_month, currency, api_key_id
    having count(distinct workflow) > 1 or count(distinct environment) > 1
),

described as (
    select
        *,
        'api_key' as subject_type,
        api_key_id as subject_id,
        {{ records_with(['account_id', 'billing_month', 'api_key_id']) }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='shared_key',
            severity='info',
            is_blocking=false,
            evidence_at='evidence_at',
            suggested_action='Split the key, or say in shared_cost_rules how its cost is shared.'
        ) }}
    from described
)

select * from final
