{{ config(materialized='table') }}
-- Grain: one row per model as a gateway wrote it and catalog: the catalog's entry that prices it.
-- The first of: the very name; provider/name; the name within the provider's family; the same
-- without Bedrock's region prefix. A name that no entry fits stays unpriced.

with models as (
    select
        price_provider,
        price_model
    from {{ ref('int_usage__price_contexts') }}
    union
    select
        cast(null as varchar) as price_provider,
        model as price_model
    from {{ ref('stg_app__requests') }}
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

entries as (
    select distinct
        catalog,
        price_key,
        catalog_provider,
        provider as entry_provider
    from {{ ref('int_prices__dated') }}
),

matched as (
    select
        candidates.price_provider,
        candidates.price_model,
        entries.catalog,
        entries.price_key,
        entries.catalog_provider,
        row_number() over (
            partition by candidates.price_provider, candidates.price_model, entries.catalog
            order by candidates.preference, entries.catalog_provider
        ) as rank
    from candidates
    inner join entries on candidates.price_key = entries.price_key
    where
        candidates.is_any_provider
        or candidates.provider is null
        or candidates.provider = entries.entry_provider
),

chosen as (
    select * exclude (rank)
    from matched
    where rank = 1
)

select * from chosen
