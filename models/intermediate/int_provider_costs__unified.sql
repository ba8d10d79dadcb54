{{ config(materialized='table', meta={'rows_need': ['int_provider_costs__listed']}) }}
-- Grain: one row per source, provider, UTC day, project, key, model, unit, service tier, batch,
-- currency, kind of line and line item.
-- What providers say it cost. Two sources may state the same money: they are compared, not added.

with lines as (
    select * from {{ ref('int_provider_costs__listed') }}
),

items as (
    select * from {{ ref('provider_line_items') }}
),

named as (
    select
        provider,
        dialect,
        line_item
    from lines
    where unit is null and line_kind = 'usage'
    group by provider, dialect, line_item
),

-- Of several patterns the one of highest priority holds, then the narrowest.
matched as (
    select
        named.provider,
        named.dialect,
        named.line_item,
        case
            when items.model = '\1'
                then regexp_extract(named.line_item, items.pattern, 1)
            else items.model
        end as model,
        items.unit,
        items.service_tier,
        items.is_batch,
        items.unit_size,
        items.line_kind
    from named
    inner join items
        on
            items.provider in (named.provider, named.dialect)
            and case items.match_type
                when 'exact' then named.line_item = items.pattern
                when 'prefix' then starts_with(named.line_item, items.pattern)
                else regexp_matches(named.line_item, items.pattern)
            end
    qualify row_number() over (
        partition by named.provider, named.dialect, named.line_item
        order by
            coalesce(items.priority, 0) desc,
            case items.match_type when 'exact' then 0 when 'prefix' then 1 else 2 end,
            length(items.pattern) desc,
            items.pattern
    ) = 1
),

mapped as (
    select
        lines.source,
        lines.provider,
        lines.provider_date,
        lines.provider_project_id,
        lines.provider_api_key_id,
        coalesce(lines.model, nullif(matched.model, '')) as model,
        coalesce(lines.unit, nullif(matched.unit, '')) as unit,
        coalesce(lines.service_tier, nullif(matched.service_tier, ''), 'standard') as service_tier,
        coalesce(lines.is_batch, matched.is_batch, false) as is_batch,
        lines.currency,
        coalesce(matched.line_kind, lines.line_kind) as line_kind,
        lines.line_item,
        lines.amount,
        cast(
            cast(lines.quantity as decimal(26, 6))
            * cast(coalesce(matched.unit_size, lines.unit_size) as decimal(12, 0))
            as decimal(26, 6)
        ) as quantity,
        -- A report that is not asked for line items names none, and hides nothing by that.
        lines.unit is not null
        or lines.line_item = ''
        or lines.line_kind <> 'usage'
        or matched.line_item is not null as is_mapped,
        lines.is_complete,
        lines.observed_at
    from lines
    left join matched
        on
            lines.unit is null
            and lines.line_kind = 'usage'
            and lines.provider = matched.provider
            and lines.dialect = matched.dialect
            and lines.line_item = matched.line_item
),

summed as (
    select
        source,
        provider,
        provider_date,
        provider_project_id,
        provider_api_key_id,
        model,
        unit,
        service_tier,
        is_batch,
        currency,
        line_kind,
        line_item,
        cast(sum(amount) as decimal(38, 18)) as amount,
        -- Quantities are known together or not at all.
        case when count(quantity) = count(*) then cast(sum(quantity) as decimal(26, 6)) end
            as quantity,
        bool_and(is_mapped) as is_mapped,
        bool_and(is_complete) as is_complete,
        max(observed_at) as observed_at
    from mapped
    group by
        source, provider, provider_date, provider_project_id, provider_api_key_id, model, unit,
        service_tier, is_batch, currency, line_kind, line_item
)

select * from summed
