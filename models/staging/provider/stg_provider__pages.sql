{{ config(materialized='table') }}
-- Grain: one row per page of a chain, scope and window it states; a page without a window has
-- one row. A page that was landed again under its name holds in its newest version; what an earlier
-- one said of windows that no newer one speaks of still holds: a bill may be dropped every month
-- under one name.

with source as (
    select * from {{ source('provider', 'provider__observations') }}
),

numbered as (
    select
        *,
        -- From the newest, which is 1.
        dense_rank() over (
            partition by _source, chain, page_number
            order by observed_at desc, page_sha256 desc
        ) as age
    from source
),

newest as (
    select *
    from numbered
    qualify age = min(age) over (partition by _source, chain, scope, window_start_at)
),

stated as (
    select
        _source,
        _gateway,
        kind,
        chain,
        page_number,
        age,
        scope,
        has_more,
        window_start_at,
        max(window_end_at) as window_end_at,
        content_sha256,
        max(window_rows) as window_rows,
        min(first_row_at) as first_row_at,
        max(last_row_at) as last_row_at,
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
        first_row_at,
        last_row_at,
        max(page_observed_at) over (partition by _source, chain, age) as observed_at,
        max(page_number) over (partition by _source, chain) as last_page_number,
        count(distinct page_number) over (partition by _source, chain) as landed_pages,
        -- Whether the last page that was landed says that there are more.
        max_by(has_more, row(page_number, -age)) over (partition by _source, chain) as has_more
    from stated
),

final as (
    select
        *,
        landed_pages = last_page_number and not has_more as is_complete
    from chained
)

select * from final
