{{ config(
    materialized='table',
    meta={'rows_need': ['stg_invoices__invoices', 'stg_invoices__lines']}
) }}
-- Grain: one row per line of an invoice or credit note that bills usage and stands, and one per
-- part of a header (tax, credit, rounding) that no line carries.
-- Who bills, for which days, and what of ours the line is about: a blank model, unit, tier or
-- project means any. Text is read by provider_line_items, where the line does not say it itself.

with lines as (
    select * from {{ ref('stg_invoices__lines') }}
    where is_usage and invoice_type in ('invoice', 'credit_note')
),

invoices as (
    select * from {{ ref('stg_invoices__invoices') }}
    where is_usage and invoice_type in ('invoice', 'credit_note')
),

superseded as (
    select
        vendor,
        supersedes_invoice_number as invoice_number
    from invoices
    where supersedes_invoice_number is not null and invoice_type = 'invoice'
    group by vendor, supersedes_invoice_number
),

standing as (
    select invoices.*
    from invoices
    left join superseded
        on
            invoices.vendor = superseded.vendor
            and invoices.invoice_number = superseded.invoice_number
    where superseded.invoice_number is null
),

items as (
    select * from {{ ref('provider_line_items') }}
),

provider_accounts as (
    select * from {{ ref('provider_accounts') }}
),

units as (
    select * from {{ ref('unit_types') }}
),

slices as (
    select
        gateway,
        payee,
        provider
    from {{ ref('int_usage__sliced') }}
    group by gateway, payee, provider
),

-- Whose projects and keys our records name; of others a line's is no help in finding them.
known_names as (
    select
        'project' as kind,
        provider_project_id as known_name
    from {{ ref('int_usage__sliced') }}
    group by provider_project_id
    union
    select
        'project' as kind,
        project_id as known_name
    from {{ ref('int_usage__sliced') }}
    group by project_id
    union
    select
        'key' as kind,
        api_key_id as known_name
    from {{ ref('int_usage__sliced') }}
    group by api_key_id
),

providers as (
    select provider from slices
    where provider is not null
    union
    select provider from provider_accounts
    union
    select provider from items
    where provider not in ('focus', 'invoice')
),

vendors as (
    select
        vendor,
        lower(vendor) as word
    from standing
    group by vendor
),

-- A vendor is a gateway that bills us, else the provider whose name its own begins with or holds.
paid_gateways as (
    select
        vendors.vendor,
        min(slices.gateway) as gateway
    from vendors
    inner join slices
        on
            slices.payee = slices.gateway
            and (
                starts_with(vendors.word, lower(slices.gateway))
                or starts_with(lower(slices.gateway), vendors.word)
            )
    group by vendors.vendor
),

billing_providers as (
    select
        vendors.vendor,
        arg_max(
            providers.provider,
            (
                providers.provider = {{ billing_provider('vendors.word') }},
                length(providers.provider), providers.provider
            )
        ) as provider
    from vendors
    inner join providers
        on
            providers.provider = {{ billing_provider('vendors.word') }}
            or contains(vendors.word, providers.provider)
    group by vendors.vendor
),

-- The provider account of a project or key before that of the provider; of several none is taken.
accounts_of_providers as (
    select
        provider,
        case when count(distinct provider_account_id) = 1 then min(provider_account_id) end
            as provider_account_id
    from provider_accounts
    group by provider
),

accounts_of_projects as (
    select
        provider,
        provider_project_id,
        min(provider_account_id) as provider_account_id
    from provider_accounts
    where provider_project_id is not null
    group by provider, provider_project_id
),

described_accounts as (
    select
        provider_account_id,
        min(provider) as provider,
        min(time_zone) as time_zone,
        min(invoice_rounding) as invoice_rounding
    from provider_accounts
    group by provider_account_id
),

billed as (
    select
        lines.vendor,
        lines.invoice_number,
        lines.line_no,
        'line' as line_part,
        lines.invoice_type,
        lines.currency,
        lines.dated_at,
        paid_gateways.gateway,
        coalesce(named.provider, billing_providers.provider) as provider,
        coalesce(
            case when named.provider is not null then lines.provider_account_id end,
            accounts_of_projects.provider_account_id,
            accounts_of_providers.provider_account_id
        ) as provider_account_id,
        lines.time_zone as stated_time_zone,
        coalesce(lines.service_start, lines.period_start) as from_date,
        coalesce(lines.service_end, lines.service_start, lines.period_end) + 1 as to_date,
        lines.description,
        lines.line_kind as stated_kind,
        lines.model as stated_model,
        units.unit as stated_unit,
        case
            when units.unit is not null then 1
            when lines.unit is not null then {{ line_unit_size('lines.unit') }}
        end as stated_unit_size,
        lines.service_tier as stated_tier,
        lines.is_batch as stated_is_batch,
        lines.provider_project_id,
        lines.api_key_id,
        lines.quantity as stated_quantity,
        lines.unit_price as stated_unit_price,
        lines.amount
    from lines
    inner join standing
        on lines.vendor = standing.vendor and lines.invoice_number = standing.invoice_number
    left join units on lower(lines.unit) = units.unit
    left join paid_gateways on lines.vendor = paid_gateways.vendor
    left join billing_providers on lines.vendor = billing_providers.vendor
    left join described_accounts as named
        on lines.provider_account_id = named.provider_account_id
    left join accounts_of_projects
        on
            coalesce(named.provider, billing_providers.provider) = accounts_of_projects.provider
            and lines.provider_project_id = accounts_of_projects.provider_project_id
    left join accounts_of_providers
        on coalesce(named.provider, billing_providers.provider) = accounts_of_providers.provider
),

named as (
    select
        provider,
        description
    from billed
    group by provider, description
),

-- The vendor's own patterns go before those for any invoice.
matched as (
    select
        named.provider,
        named.description,
        case
            when items.model = '\1' then regexp_extract(named.description, items.pattern, 1)
            else items.model
        end as model,
        items.unit,
        items.service_tier,
        items.is_batch,
        items.unit_size,
        items.line_kind
    from named
    inner join items
        on
            items.provider in (coalesce(named.provider, 'invoice'), 'invoice')
            and case items.match_type
                when 'exact' then named.description = items.pattern
                when 'prefix' then starts_with(named.description, items.pattern)
                else regexp_matches(named.description, items.pattern)
            end
    qualify row_number() over (
        partition by named.provider, named.description
        order by
            items.provider = 'invoice' asc,
            coalesce(items.priority, 0) desc,
            case items.match_type when 'exact' then 0 when 'prefix' then 1 else 2 end asc,
            length(items.pattern) desc,
            items.pattern asc
    ) = 1
),

read as (
    select
        billed.vendor,
        billed.invoice_number,
        billed.line_no,
        billed.line_part,
        billed.invoice_type,
        billed.currency,
        billed.dated_at,
        billed.gateway,
        billed.provider,
        billed.provider_account_id,
        billed.stated_time_zone,
        billed.from_date,
        billed.to_date,
        billed.description,
        billed.provider_project_id,
        billed.api_key_id,
        billed.stated_quantity,
        billed.stated_unit_price,
        billed.amount,
        -- What a credit note gives back stands against what was found wrong, not against usage.
        case
            when billed.invoice_type = 'credit_note' and coalesce(billed.stated_kind, '') <> 'tax'
                then 'credit'
            else coalesce(billed.stated_kind, matched.line_kind, 'usage')
        end as line_kind,
        coalesce(billed.stated_model, nullif(matched.model, '')) as model,
        coalesce(billed.stated_unit, nullif(matched.unit, '')) as unit,
        {{ service_tier_name('lower(billed.stated_tier)') }} as tier_word,
        nullif(matched.service_tier, '') as matched_tier,
        billed.stated_tier,
        coalesce(
            billed.stated_is_batch,
            case when lower(billed.stated_tier) = 'batch' then true end,
            case when billed.stated_tier is null then matched.is_batch end
        ) as is_batch,
        cast(coalesce(billed.stated_unit_size, matched.unit_size, 1) as decimal(12, 0))
            as unit_size,
        matched.description is not null as has_pattern
    from billed
    left join matched
        on
            billed.provider is not distinct from matched.provider
            and billed.description = matched.description
),

-- Lines that name nothing stand for everything of their days, project and key, if no other line of
-- usage of the document names anything and none of them is about the same days.
said as (
    select
        *,
        has_pattern or model is not null or unit is not null as names_something,
        lag(to_date) over (
            partition by vendor, invoice_number, line_kind, provider_project_id, api_key_id
            order by from_date, to_date, line_no
        ) > from_date as is_overlapping
    from read
),

counted as (
    select
        *,
        bool_or(
            line_kind = 'usage' and (names_something or coalesce(is_overlapping, false))
        ) over (partition by vendor, invoice_number) as is_beside_others
    from said
),

measured as (
    select
        vendor,
        invoice_number,
        line_no,
        line_part,
        invoice_type,
        currency,
        dated_at,
        gateway,
        provider,
        provider_account_id,
        stated_time_zone,
        from_date,
        to_date,
        description,
        line_kind,
        model,
        {{ compared_unit('unit', 'provider') }} as unit,
        case
            when stated_tier is not null then tier_word
            else matched_tier
        end as service_tier,
        is_batch,
        provider_project_id,
        api_key_id,
        amount,
        names_something or not is_beside_others
        or line_kind <> 'usage' or gateway is not null as is_mapped,
        -- A quantity of nothing in particular (1 month) counts nothing.
        case
            when
                line_kind = 'usage' and unit is not null
                and abs(stated_quantity) < {{ count_limit() }}
                then cast(
                    cast(stated_quantity as decimal(20, 6)) * unit_size as decimal(26, 6)
                )
        end as quantity,
        stated_quantity,
        cast(
            case
                when
                    line_kind = 'usage' and unit is not null
                    and abs(stated_unit_price) < {{ price_limit() }}
                    then
                        case unit_size
                            when 1000000
                                then
                                    cast(stated_unit_price as decimal(25, 12))
                                    * cast(0.000001 as decimal(6, 6))
                            when 1000
                                then
                                    cast(stated_unit_price as decimal(25, 15))
                                    * cast(0.001 as decimal(3, 3))
                            when 1 then stated_unit_price
                        end
            end as decimal(38, 18)
        ) as unit_price
    from counted
    where line_kind <> 'ignore'
),

-- Of tax and credits in the header only what no line carries: whichever reading fits the total.
sized as (
    select
        *,
        coalesce(tax, 0) - abs(coalesce(credits_applied, 0)) as header_amount
    from standing
),

headers as (
    select
        *,
        abs(lines_amount + header_amount - total) < abs(lines_amount - total) as is_apart,
        case
            when abs(lines_amount + header_amount - total) < abs(lines_amount - total)
                then header_amount
            else 0
        end as apart_amount
    from sized
),

header_parts as (
    select
        vendor,
        invoice_number,
        'tax' as line_part,
        tax as amount
    from headers
    where is_apart and tax <> 0
    union all
    select
        vendor,
        invoice_number,
        'credit' as line_part,
        -abs(credits_applied) as amount
    from headers
    where is_apart and credits_applied <> 0
    union all
    select
        vendor,
        invoice_number,
        'rounding' as line_part,
        total - lines_amount - apart_amount as amount
    from headers
    where total - lines_amount - apart_amount <> 0
),

header_rows as (
    select
        header_parts.vendor,
        header_parts.invoice_number,
        header_parts.line_part,
        header_parts.amount,
        headers.invoice_type,
        headers.currency,
        headers.dated_at,
        headers.period_start as from_date,
        headers.period_end + 1 as to_date,
        billing_providers.provider,
        coalesce(
            case when named.provider is not null then headers.provider_account_id end,
            accounts_of_providers.provider_account_id
        ) as provider_account_id
    from header_parts
    inner join headers
        on
            header_parts.vendor = headers.vendor
            and header_parts.invoice_number = headers.invoice_number
    left join billing_providers on header_parts.vendor = billing_providers.vendor
    left join described_accounts as named
        on headers.provider_account_id = named.provider_account_id
    left join accounts_of_providers
        on billing_providers.provider = accounts_of_providers.provider
),

together as (
    select * from measured
    union all by name
    select
        *,
        line_part as line_kind,
        'header: ' || line_part as description,
        true as is_mapped
    from header_rows
),

described as (
    select
        together.vendor,
        together.invoice_number,
        cast(together.line_no as bigint) as line_no,
        together.line_part,
        together.vendor || '/' || together.invoice_number || '/'
        || coalesce(cast(together.line_no as varchar), together.line_part) as invoice_line_id,
        together.invoice_type,
        together.currency,
        together.dated_at,
        together.gateway,
        together.provider,
        together.provider_account_id,
        coalesce(
            together.stated_time_zone, described_accounts.time_zone,
            {{ default_billing_zone('together.provider') }}
        ) as time_zone,
        coalesce(described_accounts.invoice_rounding, 'line') as invoice_rounding,
        cast(together.from_date as date) as from_date,
        cast(together.to_date as date) as to_date,
        together.description,
        together.line_kind,
        together.model,
        together.unit,
        together.service_tier,
        together.is_batch,
        together.provider_project_id,
        together.api_key_id,
        together.stated_quantity,
        together.quantity,
        together.unit_price,
        together.amount,
        together.is_mapped
    from together
    left join described_accounts
        on together.provider_account_id = described_accounts.provider_account_id
),

recognized as (
    select
        described.*,
        coalesce(bool_or(projects.known_name is not null) over (
            partition by described.gateway, described.provider, described.provider_account_id
        ), false) as has_known_projects,
        coalesce(bool_or(named_keys.known_name is not null) over (
            partition by described.gateway, described.provider, described.provider_account_id
        ), false) as has_known_keys
    from described
    left join known_names as projects
        on projects.kind = 'project' and described.provider_project_id = projects.known_name
    left join known_names as named_keys
        on named_keys.kind = 'key' and described.api_key_id = named_keys.known_name
),

placed as (
    select
        *,
        case when has_known_projects then provider_project_id end as matched_project_id,
        case when has_known_keys then api_key_id end as matched_api_key_id
    from recognized
),

{%- set alike = [
    "vendor", "invoice_number", "line_part", "line_kind", "is_mapped", "matched_project_id",
    "matched_api_key_id", "model", "unit", "service_tier", "is_batch", "from_date", "to_date",
] %}

-- A price that changed within the days may be billed on two lines, one at each price.
asked as (
    select
        *,
        coalesce(
            unit_price,
            case when quantity <> 0 then try_cast(amount / quantity as decimal(38, 18)) end
        ) as asked_price
    from placed
),

lagged as (
    select
        *,
        lag(asked_price) over (
            partition by {{ alike | join(", ") }} order by asked_price, line_no
        ) as lower_price
    from asked
),

stepped as (
    select
        * exclude (lower_price),
        coalesce(
            asked_price > 1.02 * cast(lower_price as double)
            and cast(asked_price - lower_price as double) * cast(quantity as double) > 0.02,
            false
        ) as is_next_price
    from lagged
),

leveled as (
    select
        * exclude (is_next_price),
        count(*) filter (where is_next_price) over (
            partition by {{ alike | join(", ") }} order by asked_price, line_no
        ) as price_level
    from stepped
),

final as (
    select
        * exclude (price_level),
        first_value(invoice_line_id) over (
            partition by {{ alike | join(", ") }}, price_level, quantity is null
            order by line_no
        ) as leader_id
    from leveled
)

select * from final
