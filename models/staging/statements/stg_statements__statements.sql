-- Grain: one row per document that was issued: a number is given once, its first file counts.

with source as (
    select * from {{ source('statements', 'statements__statements') }}
),

issued as (
    select *
    from source
    qualify row_number() over (
        partition by statement_number order by issued_at asc, _row_hash asc
    ) = 1
)

select * from issued
