-- Grain: one row per line item of the newest report of its billing period.
-- AWS rewrites a period whole until its bill is final; taxes, credits and refunds are lines.

with source as (
    select * from {{ source('aws', 'aws__line_items') }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = 'aws_cur2'
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
        'aws' as provider,
        billing_account_id,
        sub_account_id,
        nullif(invoice_id, '') as invoice_id,
        line_item_id,
        line_item_type,
        billing_entity,
        product_code,
        usage_type,
        operation,
        resource_id,
        coalesce(usage_type, description, line_item_type) as line_item,
        -- Models of other companies are billed by the Marketplace under codes that say nothing.
        coalesce(lower(product_code) like '%bedrock%', false)
        or coalesce(lower(usage_type) like '%token%', false) as is_ai_service,

        -- measures
        unblended_cost as amount,
        net_unblended_cost as net_amount,
        currency,
        usage_amount as quantity,
        pricing_unit as quantity_unit,

        -- times; a line without its own counts on the first day of its period
        billing_period_start_at,
        billing_period_end_at,
        usage_start_at,
        usage_end_at,
        cast(coalesce(usage_start_at, billing_period_start_at) as date) as provider_date,

        -- how sure
        is_complete,
        observed_at,
        tags,

        -- lineage
        _load_batch_id
    from observed
)

select * from renamed
