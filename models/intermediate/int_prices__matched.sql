{{ config(materialized='table') }}
-- Grain: one row per model as a gateway wrote it, catalog and span: the entry that prices it then.
-- The first of those listed at the time: the very name; provider/name; the name within the
-- provider's family; the same without Bedrock's region prefix. Before any was listed, the one first
-- listed. So a name listed later never reprices the past. A name that no entry fits stays unpriced.

with models as (
    select distinct
        price_provider,
        price_model
    from {{ ref('int_prices__contexts') }}
    where is_to_price
),

named as (
    select
        price_provider,
        price_model,
        {{ without_routing_prefix('price_model', 'price_provider') }} as bare_model,
        {{ provider_name("coalesce(price_provider, '')") }} as provider
    from models
),

candidates as (
    select
        *,
        price_model as price_key,
        1 as preference,
        price_model like '%/%' as is_any_provider
    from named
    union all
    select
        *,
        price_provider || '/' || bare_model as price_key,
        2 as preference,
        true as is_any_provider
    from named
    union all
    select
        *,
        bare_model as price_key,
        3 as preference,
        false as is_any_provider
    from named
    union all
    select
        *,
        regexp_replace(bare_model, '^(us|eu|au|jp|ca|apac|global|us-gov)\.', '') as price_key,
        4 as preference,
        false as is_any_provider
    from named
    where provider = 'aws'
),

listed as (
    select * from {{ ref('int_prices__listed') }}
),

entries as (
    select distinct
        catalog,
        price_key,
        catalog_provider,
        provider as entry_provider,
        first_from_at
    from listed
),

matched as (
    select
        candidates.price_provider,
        candidates.price_model,
        candidates.preference,
        entries.catalog,
        entries.price_key,
        entries.catalog_provider,
        entries.first_from_at
    from candidates
    inner join entries on candidates.price_key = entries.price_key
    where
        candidates.is_any_provider
        or candidates.provider is null
        or candidates.provider = entries.entry_provider
    -- Two ways to one entry are one.
    qualify row_number() over (
        partition by
            candidates.price_provider, candidates.price_model, entries.catalog,
            entries.price_key, entries.catalog_provider
        order by candidates.preference
    ) = 1
),

counted as (
    select
        *,
        count(*) over (partition by price_provider, price_model, catalog) as entries_of_model
    from matched
),

-- Where several entries fit: the spans in which each of them is listed.
spans as (
    select
        counted.*,
        listed.valid_from_at,
        listed.valid_to_at,
        false as is_backcast
    from counted
    inner join listed
        on
            counted.catalog = listed.catalog
            and counted.price_key = listed.price_key
            and counted.catalog_provider = listed.catalog_provider
    where counted.entries_of_model > 1
    {% if var('price_backcast') %}
    union all
    select
        *,
        timestamp '1970-01-01 00:00:00' as valid_from_at,
        first_from_at as valid_to_at,
        true as is_backcast
    from counted
    where entries_of_model > 1
    {% endif %}
),

moments as (
    select
        price_provider,
        price_model,
        catalog,
        valid_from_at as changes_at
    from spans
    union
    select
        price_provider,
        price_model,
        catalog,
        valid_to_at as changes_at
    from spans
    where valid_to_at < timestamp '9999-12-31 00:00:00'
),

best as (
    select
        moments.*,
        spans.price_key,
        spans.catalog_provider
    from moments
    -- Left join: from a moment at which none is listed any more, none holds.
    left join spans
        on
            moments.price_provider is not distinct from spans.price_provider
            and moments.price_model = spans.price_model
            and moments.catalog = spans.catalog
            and moments.changes_at >= spans.valid_from_at
            and moments.changes_at < spans.valid_to_at
    qualify row_number() over (
        partition by
            moments.price_provider, moments.price_model, moments.catalog, moments.changes_at
        order by
            spans.is_backcast,
            case when spans.is_backcast then spans.first_from_at end,
            spans.preference,
            spans.catalog_provider
    ) = 1
),

compared as (
    select
        *,
        lag(price_key) over (
            partition by price_provider, price_model, catalog
            order by changes_at
        ) as price_key_before,
        lag(catalog_provider) over (
            partition by price_provider, price_model, catalog
            order by changes_at
        ) as catalog_provider_before
    from best
),

changes as (
    select *
    from compared
    where
        price_key is distinct from price_key_before
        or catalog_provider is distinct from catalog_provider_before
),

final as (
    select
        price_provider,
        price_model,
        catalog,
        price_key,
        catalog_provider,
        timestamp '1970-01-01 00:00:00' as valid_from_at,
        timestamp '9999-12-31 00:00:00' as valid_to_at
    from counted
    where entries_of_model = 1
    union all
    select
        price_provider,
        price_model,
        catalog,
        price_key,
        catalog_provider,
        changes_at as valid_from_at,
        coalesce(
            lead(changes_at) over (
                partition by price_provider, price_model, catalog
                order by changes_at
            ),
            timestamp '9999-12-31 00:00:00'
        ) as valid_to_at
    from changes
)

select * from final
where price_key is not null
