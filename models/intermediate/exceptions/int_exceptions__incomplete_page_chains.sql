-- Grain: one row per source, endpoint and span of time whose answer lacks pages.
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
    select chains.*
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

grouped as (
    select
        source,
        kind,
        scope,
        window_start_at,
        window_end_at,
        min(chain) || '%' as first_chain,
        string_agg(
            chain || ' ' || landed_pages || ' of ' || last_page_number, ',' order by chain
        ) as evidence_keys
    from incomplete
    group by all
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
            ~ 'missing.'
        ) }}
    from described
)

select * from final
