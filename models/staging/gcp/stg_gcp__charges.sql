-- Grain: one row per exported row, and one per credit of it.
-- The export only appends, so every row counts; what a charge costs in the end is it and its
-- credits. An invoice month is one of Los Angeles, usage is in UTC.

with billing_rows as (
    select * from {{ source('gcp', 'gcp__billing_rows') }}
),

credits as (
    select * from {{ source('gcp', 'gcp__credits') }}
),

charges as (
    select
        *,
        0 as credit_number,
        cost as amount,
        sku_description as line_item,
        usage_amount as quantity,
        coalesce(cost_type, 'regular') as charge_type
    from billing_rows
),

credited as (
    select
        billing_rows.*,
        credits.credit_number,
        credits.amount,
        coalesce(credits.credit_name, credits.credit_type, 'credit') as line_item,
        cast(null as decimal(38, 18)) as quantity,
        'credit' as charge_type
    from billing_rows
    inner join credits
        on
            billing_rows._load_batch_id = credits._load_batch_id
            and billing_rows._source_line = credits._source_line
),

together as (
    select * from charges
    union all by name
    select * from credited
),

renamed as (
    select
        -- identifiers
        _source as source,
        md5(concat_ws('|', _gateway, content_sha256, occurrence, credit_number)) as charge_id,
        'google' as provider,
        billing_account_id,
        project_id as sub_account_id,
        service_description as service_name,
        sku_id,
        sku_description,
        resource_id,
        charge_type,
        coalesce(line_item, service_description, charge_type) as line_item,
        adjustment_id is not null or charge_type = 'adjustment' as is_correction,
        coalesce(
            lower(service_description) like '%vertex ai%'
            or lower(service_description) like '%gemini%'
            or lower(service_description) like '%generative language%',
            false
        ) as is_ai_service,

        -- measures
        amount,
        currency,
        quantity,
        usage_unit as quantity_unit,

        -- times
        invoice_month,
        timezone(
            'UTC', timezone('America/Los_Angeles', strptime(invoice_month, '%Y%m'))
        ) as billing_period_start_at,
        usage_start_at,
        usage_end_at,
        cast(usage_start_at as date) as provider_date,

        -- how sure
        true as is_complete,
        export_at as observed_at,
        tags,

        -- lineage
        _load_batch_id
    from together
)

select * from renamed
