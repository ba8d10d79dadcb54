-- Grain: one row per settled batch observation and model of the batch.

with source as (
    select * from {{ source('litellm', 'litellm__batch_usage') }}
),

numbered as (
    select
        *,
        row_number() over (
            partition by _load_batch_id, _source_line order by batch_model
        ) as part_number
    from source
)

select * from numbered
