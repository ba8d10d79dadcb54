{#- CTEs source, windows, observed and stated_once: the rows of a kind of page that count, which are
    those of the newest complete look at each window (stg_provider__windows), each once. -#}
{% macro rows_of_windows(system, kind) -%}
source as (
    select * from {{ source(system, kind | replace(system ~ '_', system ~ '__')) }}
),

windows as (
    select * from {{ ref('stg_provider__windows') }}
    where kind = '{{ kind }}'
),

observed as (
    select
        source.*,
        windows.source as source_name,
        windows.is_complete,
        windows.observed_at,
        windows.page_number
    from source
    inner join windows
        on
            source._gateway = windows.gateway
            and source.endpoint = windows.scope
            and source.bucket_start_at = windows.window_start_at
            and source.content_sha256 = windows.content_sha256
),

-- What stands on two pages of a chain counts once.
stated_once as (
    select *
    from observed
    qualify row_number() over (
        partition by source_name, endpoint, bucket_start_at, dimensions_sha256
        order by page_number, bucket_position
    ) = 1
)
{%- endmacro %}
