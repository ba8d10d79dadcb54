-- Grain: one row per charge of the newest export of its billing period.
-- Azure's exports of a month to date repeat all of it; refunds and roundings are rows.

with source as (
    select * from {{ source('azure', 'azure__cost_details') }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = 'azure_cost'
),

-- The rows of the newest file that states the period, and of no other.
observed as (
    select
        source.*,
        windows.source as source_name,
        windows.is_complete,
        windows.observed_at
    from source
    inner join windows
        on
            source._gateway = windows.gateway
            and coalesce(source.billing_account_id, '') = windows.scope
            and source.billing_period_start_at = windows.window_start_at
            and source.content_sha256 = windows.content_sha256
),

renamed as (
    select
        -- identifiers
        source_name as source,
        md5(concat_ws('|', source_name, content_sha256, row_number)) as charge_id,
        'azure' as provider,
        billing_account_id,
        billing_profile_id,
        sub_account_id,
        invoice_id,
        previous_invoice_id,
        resource_group,
        resource_id,
        cost_center,
        charge_type,
        publisher_type,
        meter_category,
        meter_sub_category,
        coalesce(meter_name, charge_type) as line_item,
        coalesce(lower(consumed_service) = 'microsoft.cognitiveservices', false)
        or coalesce(lower(meter_category) in ('foundry models', 'cognitive services'), false)
        or coalesce(lower(meter_sub_category) like '%openai%', false) as is_ai_service,

        -- measures
        billing_cost as amount,
        currency,
        pricing_cost,
        pricing_currency,
        exchange_rate_pricing_to_billing,
        quantity,
        unit_of_measure as quantity_unit,

        -- times
        billing_period_start_at,
        billing_period_end_at,
        usage_start_at,
        cast(usage_start_at as date) as provider_date,

        -- how sure
        is_complete,
        observed_at,
        tags,

        -- lineage
        _load_batch_id
    from observed
)

select * from renamed
