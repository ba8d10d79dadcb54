-- Grain: one row per decision; of two versions the later, then the larger hash, holds.

with source as (
    select * from {{ source('decisions', 'decisions__decisions') }}
),

newest as (
    select *
    from source
    qualify row_number() over (
        partition by decision_id order by decided_at desc, _row_hash desc
    ) = 1
)

select * from newest
