-- Grain: one row per line of a provider's cost report or cloud bill that is about AI.
-- Every system's words for a kind of line become the contract's here.

with openai as (
    select * from {{ ref('stg_openai__costs') }}
),

anthropic as (
    select * from {{ ref('stg_anthropic__costs') }}
    -- The analytics report is another view of the same money.
    where report = 'cost_report'
),

focus as (
    select * from {{ ref('stg_focus__charges') }}
    where is_ai_service
),

aws as (
    select * from {{ ref('stg_aws__line_items') }}
    where is_ai_service
),

gcp as (
    select * from {{ ref('stg_gcp__charges') }}
    where is_ai_service
),

azure as (
    select * from {{ ref('stg_azure__cost_details') }}
    where is_ai_service
),

from_openai as (
    select
        source,
        provider,
        provider as dialect,
        provider_date,
        provider_project_id,
        provider_api_key_id,
        cast(null as varchar) as model,
        cast(null as varchar) as unit,
        cast(null as varchar) as service_tier,
        cast(null as boolean) as is_batch,
        currency,
        'usage' as line_kind,
        coalesce(line_item, '') as line_item,
        amount,
        quantity,
        {{ quantity_factor('quantity_unit') }} as unit_size,
        is_complete,
        observed_at
    from openai
),

from_anthropic as (
    select
        source,
        provider,
        provider as dialect,
        provider_date,
        provider_project_id,
        cast(null as varchar) as provider_api_key_id,
        model,
        {{ anthropic_token_unit('token_type') }} as unit,
        service_tier,
        is_batch,
        currency,
        'usage' as line_kind,
        coalesce(description, cost_type, '') as line_item,
        amount,
        cast(null as decimal(38, 18)) as quantity,
        1 as unit_size,
        is_complete,
        observed_at
    from anthropic
),

from_focus as (
    select
        source,
        provider,
        'focus' as dialect,
        provider_date,
        sub_account_id as provider_project_id,
        cast(null as varchar) as provider_api_key_id,
        cast(null as varchar) as model,
        cast(null as varchar) as unit,
        cast(null as varchar) as service_tier,
        cast(null as boolean) as is_batch,
        currency,
        case charge_category
            when 'Usage' then 'usage'
            when 'Tax' then 'tax'
            when 'Credit' then 'credit'
            when 'Adjustment' then 'credit'
            when 'Purchase' then 'commitment'
            else 'usage'
        end as line_kind,
        coalesce(line_item, '') as line_item,
        amount,
        quantity,
        {{ quantity_factor('quantity_unit') }} as unit_size,
        is_complete,
        observed_at
    from focus
),

from_aws as (
    select
        source,
        provider,
        provider as dialect,
        provider_date,
        sub_account_id as provider_project_id,
        cast(null as varchar) as provider_api_key_id,
        cast(null as varchar) as model,
        cast(null as varchar) as unit,
        cast(null as varchar) as service_tier,
        cast(null as boolean) as is_batch,
        currency,
        case
            when line_item_type in ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
                then 'usage'
            when line_item_type = 'Tax' then 'tax'
            when line_item_type in ('Credit', 'Refund') or line_item_type like '%Discount%'
                then 'credit'
            when line_item_type in ('Fee', 'RIFee') or line_item_type like 'SavingsPlan%'
                then 'commitment'
            else 'usage'
        end as line_kind,
        coalesce(line_item, '') as line_item,
        amount,
        quantity,
        {{ quantity_factor('quantity_unit') }} as unit_size,
        is_complete,
        observed_at
    from aws
),

from_gcp as (
    select
        source,
        provider,
        provider as dialect,
        provider_date,
        sub_account_id as provider_project_id,
        cast(null as varchar) as provider_api_key_id,
        cast(null as varchar) as model,
        cast(null as varchar) as unit,
        cast(null as varchar) as service_tier,
        cast(null as boolean) as is_batch,
        currency,
        case
            when charge_type = 'tax' then 'tax'
            when charge_type in ('credit', 'adjustment', 'rounding_error') then 'credit'
            else 'usage'
        end as line_kind,
        coalesce(line_item, '') as line_item,
        amount,
        quantity,
        {{ quantity_factor('quantity_unit') }} as unit_size,
        is_complete,
        observed_at
    from gcp
),

from_azure as (
    select
        source,
        provider,
        provider as dialect,
        provider_date,
        sub_account_id as provider_project_id,
        cast(null as varchar) as provider_api_key_id,
        cast(null as varchar) as model,
        cast(null as varchar) as unit,
        cast(null as varchar) as service_tier,
        cast(null as boolean) as is_batch,
        currency,
        case
            when lower(charge_type) in ('refund', 'roundingadjustment') then 'credit'
            when lower(charge_type) in ('purchase', 'unusedreservation') then 'commitment'
            when lower(charge_type) = 'tax' then 'tax'
            else 'usage'
        end as line_kind,
        coalesce(line_item, '') as line_item,
        amount,
        quantity,
        {{ quantity_factor('quantity_unit') }} as unit_size,
        is_complete,
        observed_at
    from azure
),

listed as (
    select * from from_openai
    union all
    select * from from_anthropic
    union all
    select * from from_focus
    union all
    select * from from_aws
    union all
    select * from from_gcp
    union all
    select * from from_azure
)

select * from listed
