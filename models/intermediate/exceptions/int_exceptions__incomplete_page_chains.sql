-- Grain: one row per source, endpoint and span of time whose answer lacks pages, and per billing
-- period of which the newest file lacks days that an earlier one has.
-- A complete chain that was asked for as late or later and spans as much makes up for it.

with pages as (
    select * from {{ ref('stg_provider__pages') }}
),

chains as (
    select
        source,
        kind,
        coalesce(max(scope), '') as scope,
        chain,
        bool_and(is_complete) as is_complete,
        max(observed_at) as observed_at,
        max(last_page_number) as last_page_number,
        max(landed_pages) as landed_pages,
        coalesce(min(window_start_at), max(observed_at)) as window_start_at,
        coalesce(max(window_end_at), max(observed_at)) as window_end_at
    from pages
    group by source, kind, chain
),

incomplete as (
    select
        chains.source,
        chains.scope,
        chains.window_start_at,
        chains.window_end_at,
        chains.chain,
        chains.chain || ' ' || chains.landed_pages || ' of ' || chains.last_page_number
            as evidence_key
    from chains
    left join chains as whole
        on
            chains.source = whole.source
            and chains.kind = whole.kind
            and chains.scope = whole.scope
            and whole.is_complete
            and chains.observed_at <= whole.observed_at
            and chains.window_start_at >= whole.window_start_at
            and chains.window_end_at <= whole.window_end_at
    where not chains.is_complete and whole.chain is null
),

-- A bill replaces its period whole: files by day, parts under names of their own, and an old file
-- that came last would each take days away.
bills as (
    select
        source,
        kind,
        coalesce(scope, '') as scope,
        window_start_at,
        chain,
        coalesce(max(window_end_at), window_start_at) as window_end_at,
        cast(min(first_row_at) as date) as first_date,
        cast(max(last_row_at) as date) as last_date,
        max(observed_at) as observed_at
    from pages
    where is_complete and first_row_at is not null
    group by source, kind, scope, window_start_at, chain
),

newest_bills as (
    select *
    from bills
    qualify row_number() over (
        partition by source, kind, scope, window_start_at
        order by observed_at desc, chain desc
    ) = 1
),

shortened as (
    select
        newest_bills.source,
        newest_bills.scope,
        newest_bills.window_start_at,
        newest_bills.window_end_at,
        newest_bills.chain,
        bills.chain || ' ' || bills.first_date || ' to ' || bills.last_date || ' replaced by '
        || newest_bills.first_date || ' to ' || newest_bills.last_date as evidence_key
    from newest_bills
    inner join bills
        on
            newest_bills.source = bills.source
            and newest_bills.kind = bills.kind
            and newest_bills.scope = bills.scope
            and newest_bills.window_start_at = bills.window_start_at
            and (
                newest_bills.first_date > bills.first_date
                or newest_bills.last_date < bills.last_date
            )
),

lacking as (
    select * from incomplete
    union all
    select * from shortened
),

grouped as (
    select
        source,
        scope,
        window_start_at,
        window_end_at,
        min(chain) || '%' as first_chain,
        string_agg(evidence_key, ',' order by evidence_key) as evidence_keys
    from lacking
    group by source, scope, window_start_at, window_end_at
),

described as (
    select
        -- Whose usage the missing pages hold is not known.
        'unassigned' as account_id,
        strftime(window_start_at, '%Y-%m') as billing_month,
        'USD' as currency,
        cast(null as decimal(38, 18)) as amount_at_stake,
        evidence_keys,
        'page_chain' as subject_type,
        concat_ws(
            '/', source, scope,
            strftime(window_start_at, '%Y-%m-%dT%H:%M:%SZ'),
            strftime(window_end_at, '%Y-%m-%dT%H:%M:%SZ')
        ) as subject_id,
        'select * from audit.load_batches where source = ' || {{ as_literal('source') }}
        || ' and file_name like ' || {{ as_literal('first_chain') }} as evidence
    from grouped
),

final as (
    select
        {{ exception_columns(
            type='incomplete_page_chain',
            severity='error',
            is_blocking=true,
            suggested_action='Ask the source for this span again, or land the pages that are '
            ~ 'missing; name files that make up one bill alike up to __p0001.'
        ) }}
    from described
)

select * from final
