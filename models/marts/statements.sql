{{ config(meta={'rows_need': ['stg_statements__statements']}) }}
-- Grain: one row per document that was issued (contract, table T7).

with issued as (
    select * from {{ ref('stg_statements__statements') }}
),

successors as (
    select
        supersedes as statement_number,
        min(statement_number) as superseded_by
    from issued
    where supersedes is not null
    group by supersedes
),

final as (
    select
        issued.statement_number,
        issued.account_id,
        issued.team_id,
        issued.billing_month,
        issued.kind,
        issued.currency,
        issued.subtotal,
        issued.tax,
        issued.total,
        issued.issued_at,
        case when successors.superseded_by is null then 'issued' else 'superseded' end as status,
        issued.supersedes,
        successors.superseded_by,
        issued.file_sha256,
        issued.csv_sha256
    from issued
    left join successors on issued.statement_number = successors.statement_number
)

select * from final
