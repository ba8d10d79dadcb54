{{ config(materialized='table') }}
-- Grain: one row per close and row of it, of the close that holds for its account and month.
-- A close holds when every row of it is there; of two for one month the first does.

with source as (
    select * from {{ source('closes', 'closes__rows') }}
),

rows_of_closes as (
    select *
    from source
    qualify row_number() over (partition by close_id, row_no order by _row_hash) = 1
),

complete as (
    select
        close_id,
        max(account_id) as account_id,
        max(billing_month) as billing_month,
        min(closed_at) as closed_at
    from rows_of_closes
    group by close_id
    having count(*) = max(row_count)
),

holding as (
    select *
    from complete
    qualify row_number() over (
        partition by account_id, billing_month order by closed_at asc, close_id asc
    ) = 1
),

final as (
    select rows_of_closes.*
    from rows_of_closes
    inner join holding on rows_of_closes.close_id = holding.close_id
)

select * from final
