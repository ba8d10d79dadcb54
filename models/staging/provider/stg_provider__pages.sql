{{ config(materialized='table') }}
-- Grain: one row per page of a chain, scope and window it states; a page without a window has
-- one row. A page that was landed again under its name holds in its newest version.

with source as (
    select * from {{ source('provider', 'provider__observations') }}
),

newest as (
    select *
    from source
    qualify dense_rank() over (
        partition by _source, chain, page_number
        order by observed_at desc, page_sha256 desc
    ) = 1
),

stated as (
    select
        _source,
        _gateway,
        kind,
        chain,
        page_number,
        scope,
        has_more,
        window_start_at,
        max(window_end_at) as window_end_at,
        content_sha256,
        max(window_rows) as window_rows,
        max(observed_at) as page_observed_at
    from newest
    group by all
),

chained as (
    select
        _source as source,
        _gateway as gateway,
        kind,
        chain,
        page_number,
        scope,
        window_start_at,
        window_end_at,
        content_sha256,
        window_rows,
        max(page_observed_at) over (partition by _source, chain) as observed_at,
        max(page_number) over (partition by _source, chain) as last_page_number,
        count(distinct page_number) over (partition by _source, chain) as landed_pages,
        -- Whether the last page that was landed says that there are more.
        max_by(has_more, page_number) over (partition by _source, chain) as has_more
    from stated
),

final as (
    select
        *,
        landed_pages = last_page_number and not has_more as is_complete
    from chained
)

select * from final
