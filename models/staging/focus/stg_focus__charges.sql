-- Grain: one row per charge of the newest FOCUS file of its billing period.
-- Credits, taxes and corrections are charges of their own: nothing is netted here.

with source as (
    select * from {{ source('focus', 'focus__charges') }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = 'focus'
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
        coalesce({{ billing_provider('provider_name') }}, 'focus') as provider,
        billing_account_id,
        sub_account_id,
        invoice_id,
        sku_id,
        sku_meter,
        resource_id,
        region_id,
        service_name,
        charge_category,
        charge_class = 'Correction' as is_correction,
        coalesce(charge_description, sku_meter, sku_id, service_name) as line_item,
        service_category = 'AI and Machine Learning' as is_ai_service,

        -- measures
        billed_cost as amount,
        effective_cost,
        list_cost,
        contracted_cost,
        currency,
        consumed_quantity as quantity,
        consumed_unit as quantity_unit,

        -- times
        billing_period_start_at,
        billing_period_end_at,
        charge_period_start_at,
        charge_period_end_at,
        cast(charge_period_start_at as date) as provider_date,

        -- how sure
        is_complete,
        observed_at,
        tags,

        -- lineage
        _load_batch_id
    from observed
)

select * from renamed
