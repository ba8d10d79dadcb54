-- Grain: one row per application request without a usage record, and one per gateway, UTC day and
-- model of which the edge counted more requests than were logged.

with app_requests as (
    select * from {{ ref('int_app_requests__priced') }}
),

compared as (
    select * from {{ ref('int_gateway_counts__compared') }}
    where counted_requests > logged_requests
),

-- The account that the key's other usage goes to.
key_accounts as (
    select
        gateway,
        api_key_id,
        min(account_id) as account_id
    from {{ ref('daily_spend') }}
    group by gateway, api_key_id
),

from_apps as (
    select
        coalesce(key_accounts.account_id, 'unassigned') as account_id,
        strftime(app_requests.occurred_at, '%Y-%m') as billing_month,
        -- List prices are in USD, whatever the application expected to pay in.
        'USD' as currency,
        app_requests.list_cost as amount_at_stake,
        app_requests.occurred_at as evidence_at,
        app_requests.request_id as evidence_keys,
        'app_request' as subject_type,
        app_requests.gateway || '/' || app_requests.request_id as subject_id,
        'select * from marts.usage_records where gateway = '
        || {{ as_literal('app_requests.gateway') }}
        || ' and request_id = ' || {{ as_literal('app_requests.request_id') }} as evidence
    from app_requests
    left join key_accounts
        on
            app_requests.gateway = key_accounts.gateway
            and app_requests.api_key_id = key_accounts.api_key_id
),

from_counts as (
    select
        account_id,
        strftime(usage_date, '%Y-%m') as billing_month,
        coalesce(currency, 'USD') as currency,
        cast(
            try_cast(counted_requests - logged_requests as decimal(12, 0))
            * try_cast(mean_billed_cost as decimal(25, 18)) as decimal(38, 18)
        ) as amount_at_stake,
        cast(usage_date as timestamp) as evidence_at,
        counted_hours || ' logged ' || cast(logged_requests as varchar) as evidence_keys,
        'gateway_day_model' as subject_type,
        concat_ws('/', gateway, cast(usage_date as varchar), model) as subject_id,
        'select * from marts.usage_records where gateway = ' || {{ as_literal('gateway') }}
        || ' and usage_date = ' || {{ as_literal('cast(usage_date as varchar)') }}
        || coalesce(' and model = ' || {{ as_literal('model') }}, '') as evidence
    from compared
),

described as (
    select * from from_apps
    union all
    select * from from_counts
),

final as (
    select
        {{ exception_columns(
            type='missing_usage_record',
            severity='warning',
            is_blocking=true,
            evidence_at='evidence_at',
            suggested_action='Find where the record was lost: the gateway log has fewer calls than '
            ~ 'were made.'
        ) }}
    from described
)

select * from final
