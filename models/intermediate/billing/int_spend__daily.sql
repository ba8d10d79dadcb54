{{ config(
    materialized='incremental',
    incremental_strategy='touched_days',
    on_schema_change='fail'
) }}
-- Grain: one row per UTC day, billing day (of the account's zone), account, provider account,
-- owner, billing mode, whether the provider is owed, and currency.
-- Records that repeat another (duplicate_of) count in no total.

with usage as (
    select *
    from {{ ref('usage_records') }}
    where duplicate_of is null and {{ in_touched_days('started_at') }}
),

final as (
    select
        usage_date,
        billing_date,
        account_id,
        provider_account_id,
        api_key_id,
        team_id,
        project_id,
        organization_id,
        cost_center,
        billing_mode,
        -- Else the gateway bills it, or takes it from a wallet.
        coalesce(payee <> gateway, true) as is_owed_to_provider,
        currency,
        count(*) as records,
        sum(case when billed_cost is null then 1 else 0 end) as records_without_cost,
        cast(sum(billed_cost) as decimal(38, 18)) as billed_cost,
        cast(sum(provider_cost) as decimal(38, 18)) as provider_cost
    from usage
    group by
        usage_date,
        billing_date,
        account_id,
        provider_account_id,
        api_key_id,
        team_id,
        project_id,
        organization_id,
        cost_center,
        billing_mode,
        is_owed_to_provider,
        currency
)

select * from final
