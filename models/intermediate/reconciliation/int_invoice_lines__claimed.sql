{{ config(materialized='table', meta={'rows_need': ['int_invoice_lines__mapped']}) }}
-- Grain: one row per slice of usage, way of drawing the window (utc, zone, ended) and the invoice
-- line that bills it, with what of it the line holds; and per slice that a provider states.
-- A slice belongs to the line that names most of it, of equals to the first document: no usage is
-- expected twice. Lines alike in one document share theirs through the first of them (leader).

with lines as (
    select * from {{ ref('int_invoice_lines__mapped') }}
    where line_part = 'line' and line_kind = 'usage' and is_mapped
),

models as (
    select * from {{ ref('int_models__spelled') }}
),

slices as (
    select * from {{ ref('int_usage__sliced') }}
    where usage_class <> 'subscription'
),

stated as (
    select * from {{ ref('int_provider__stated') }}
    where line_kind = 'usage' and unit is not null
),

fx_rates as (
    select * from {{ ref('fx_rates') }}
),

known_keys as (
    select * from {{ ref('int_owners__known_keys') }}
),

named as (
    select
        lines.* exclude (model),
        coalesce(models.compared_model, lines.model) as model,
        coalesce(lines.gateway, lines.provider) as biller
    from lines
    left join models
        on
            coalesce(lines.gateway, lines.provider) = models.provider
            and lines.model = models.model
),

led as (
    select
        *,
        case when matched_project_id is null then 0 else 64 end
        + case when matched_api_key_id is null then 0 else 32 end
        + case when model is null then 0 else 16 end
        + case when unit is null then 0 else 8 end
        + case when service_tier is null then 0 else 4 end
        + case when is_batch is null then 0 else 2 end as said
    from named
),

leaders as (
    select
        *,
        sum(quantity) over (partition by leader_id) as alike_quantity
    from led
    qualify invoice_line_id = leader_id
),

scopes as (
    select
        biller,
        gateway,
        provider,
        time_zone,
        currency
    from leaders
    group by biller, gateway, provider, time_zone, currency
),

edges as (
    select from_date as edge_date from leaders
    union
    select to_date as edge_date from leaders
),

segments as (
    select
        edge_date as segment_date,
        lead(edge_date) over (order by edge_date) as next_date
    from edges
),

-- What a day more or less can move across an edge lies within two days of it.
span as (
    select
        min(edge_date) - 2 as first_date,
        max(edge_date) + 2 as last_date
    from edges
),

dated as (
    select
        slices.provider_account_id,
        slices.provider_project_id,
        slices.project_id,
        slices.api_key_id,
        slices.usage_class,
        slices.is_partial,
        slices.service_tier,
        slices.is_batch,
        slices.context_band,
        slices.price_currency,
        slices.unit_price,
        slices.quantity,
        slices.unpriced_quantity,
        coalesce(models.compared_model, slices.model) as model,
        {{ compared_unit('slices.unit', 'slices.provider') }} as unit,
        scopes.biller,
        scopes.time_zone,
        scopes.currency,
        slices.usage_date as started_date,
        {{ started_slice_date('slices', 'scopes.time_zone') }} as zone_date,
        {{ ended_slice_date('slices', 'scopes.time_zone') }} as ended_date,
        case
            when scopes.gateway is not null and scopes.currency = slices.currency
                then slices.billed_cost
            when scopes.gateway is not null
                then {{ converted('slices.billed_cost', 'fx_rates.rate') }}
            when scopes.currency = slices.price_currency then slices.priced_cost
            when scopes.currency = slices.currency then slices.provider_cost
            else {{ converted('slices.priced_cost', 'fx_rates.rate') }}
        end as cost,
        slices.priced_cost,
        slices.api_key_id is null or known_keys.api_key_id is not null as is_key_known
    from slices
    inner join span
        on
            slices.usage_date >= span.first_date
            and slices.usage_date <= span.last_date
    inner join scopes
        on case
            when scopes.gateway is not null
                then slices.gateway = scopes.gateway and slices.payee = scopes.gateway
            else slices.provider = scopes.provider and slices.payee = slices.provider
        end
    left join models
        on
            coalesce(scopes.gateway, slices.provider) = models.provider
            and slices.model = models.model
    left join fx_rates
        on
            slices.usage_date = fx_rates.rate_date
            and fx_rates.base_currency = case
                when scopes.gateway is not null then slices.currency else slices.price_currency
            end
            and scopes.currency = fx_rates.quote_currency
    left join known_keys on slices.api_key_id = known_keys.api_key_id
),

{%- set atom_names = [
    "provider_account_id", "provider_project_id", "project_id", "api_key_id", "usage_class",
    "is_partial", "service_tier", "is_batch", "context_band", "price_currency", "unit_price",
    "model", "unit", "biller", "time_zone", "currency", "is_key_known",
] %}

atoms as (
    {% for basis, date_column in [
        ("utc", "started_date"), ("zone", "zone_date"), ("ended", "ended_date")
    ] -%}
    select
        {% for name in atom_names -%}
        dated.{{ name }},
        {% endfor -%}
        '{{ basis }}' as basis,
        segments.segment_date,
        cast(sum(dated.quantity) as decimal(26, 6)) as quantity,
        cast(sum(dated.unpriced_quantity) as decimal(26, 6)) as unpriced_quantity,
        cast(sum(dated.cost) as decimal(38, 18)) as amount,
        cast(sum(dated.priced_cost) as decimal(38, 18)) as priced_amount
    from dated
    inner join segments
        on
            dated.{{ date_column }} >= segments.segment_date
            and dated.{{ date_column }} < segments.next_date
    group by
        {% for name in atom_names -%}
        dated.{{ name }},
        {% endfor -%}
        segments.segment_date
    {{ "union all" if not loop.last }}
    {% endfor %}
    union all
    -- What the provider states of the same days, as its own kind of usage.
    select
        stated.provider_account_id,
        stated.provider_project_id,
        cast(null as varchar) as project_id,
        cast(null as varchar) as api_key_id,
        stated.kind || case when stated.is_bypass then '_bypass' else '' end as usage_class,
        false as is_partial,
        stated.service_tier,
        stated.is_batch,
        cast(null as varchar) as context_band,
        stated.currency as price_currency,
        cast(null as decimal(38, 18)) as unit_price,
        stated.model,
        stated.unit,
        scopes.biller,
        scopes.time_zone,
        scopes.currency,
        true as is_key_known,
        'stated' as basis,
        segments.segment_date,
        cast(sum(stated.quantity) as decimal(26, 6)) as quantity,
        cast(null as decimal(26, 6)) as unpriced_quantity,
        cast(sum(stated.amount) as decimal(38, 18)) as amount,
        cast(sum(stated.amount) as decimal(38, 18)) as priced_amount
    from stated
    inner join scopes on scopes.gateway is null and stated.provider = scopes.provider
    inner join segments
        on
            stated.provider_date >= segments.segment_date
            and stated.provider_date < segments.next_date
    group by all
),

numbered as (
    select
        *,
        row_number() over (
            order by {{ atom_names | join(', ') }}, basis, segment_date
        ) as atom_number
    from atoms
),

-- Lines of a known contract are joined by it, which keeps many contracts of one provider apart
-- cheaply; those of a gateway or of any contract by the rest alone.
pairs as (
    {% for is_of_contract in [true, false] -%}
    select
        numbered.*,
        leaders.invoice_line_id,
        leaders.alike_quantity as line_quantity,
        (leaders.service_tier is null or numbered.service_tier = leaders.service_tier)
        and (leaders.is_batch is null or numbered.is_batch = leaders.is_batch) as is_strict,
        leaders.said,
        leaders.dated_at,
        leaders.invoice_number,
        leaders.line_no,
        leaders.vendor,
        abs(numbered.unit_price - leaders.asked_price) as price_distance
    from numbered
    inner join leaders
        on
            numbered.biller = leaders.biller
            and numbered.time_zone = leaders.time_zone
            and numbered.currency = leaders.currency
            {% if is_of_contract -%}
            and numbered.provider_account_id = leaders.provider_account_id
            and leaders.gateway is null
            {% else -%}
            and (leaders.gateway is not null or leaders.provider_account_id is null)
            {% endif -%}
            and numbered.segment_date >= leaders.from_date
            and numbered.segment_date < leaders.to_date
            and (leaders.model is null or numbered.model = leaders.model)
            and (leaders.unit is null or numbered.unit = leaders.unit)
            and (
                leaders.matched_api_key_id is null
                or numbered.api_key_id = leaders.matched_api_key_id
            )
            and case
                when numbered.basis = 'stated'
                    then
                        leaders.provider_project_id is null
                        or numbered.provider_project_id = leaders.provider_project_id
                else
                    leaders.matched_project_id is null
                    or leaders.matched_project_id
                    in (numbered.provider_project_id, numbered.project_id)
            end
    {{ "union all" if not loop.last }}
    {% endfor %}
),

claims as (
    select * exclude (said, dated_at, invoice_number, line_no, vendor, price_distance)
    from pairs
    qualify row_number() over (
        partition by atom_number
        order by
            is_strict desc, said desc, dated_at asc, invoice_number asc, vendor asc,
            price_distance asc nulls last, line_no asc
    ) = 1
),

-- Usage that no line of its own tier bills is looked for under the line of another tier, and
-- belongs there only if that line's quantity is then met, or has nothing else to go by.
judged as (
    select
        *,
        sum(
            case
                when basis = 'ended' and usage_class = 'billable' and is_strict then quantity
                else 0
            end
        ) over (partition by invoice_line_id) as strict_quantity,
        sum(
            case when basis = 'ended' and usage_class = 'billable' then quantity else 0 end
        ) over (partition by invoice_line_id) as near_quantity
    from claims
),

held as (
    select * exclude (strict_quantity, near_quantity, line_quantity)
    from judged
    where
        is_strict
        or (
            basis <> 'stated'
            and line_quantity > 0
            and (strict_quantity = 0 or line_quantity = near_quantity)
        )
),

-- Documents that state quantities: what of ours none of their lines bills is held beside them, as
-- the other side of what moved to another model, tier or part of the input.
documents as (
    select
        biller,
        time_zone,
        currency,
        gateway,
        provider_account_id,
        vendor,
        invoice_number,
        provider_project_id,
        from_date,
        to_date
    from leaders
    where quantity is not null
    group by all
),

unclaimed as (
    {% for is_of_contract in [true, false] -%}
    select
        numbered.*,
        cast(null as varchar) as invoice_line_id,
        false as is_strict,
        concat_ws(
            '|', documents.vendor, documents.invoice_number,
            coalesce(documents.provider_project_id, ''), documents.from_date, documents.to_date, ''
        ) as family
    from numbered
    inner join documents
        on
            numbered.biller = documents.biller
            and numbered.time_zone = documents.time_zone
            and numbered.currency = documents.currency
            {% if is_of_contract -%}
            and numbered.provider_account_id = documents.provider_account_id
            and documents.gateway is null
            {% else -%}
            and (documents.gateway is not null or documents.provider_account_id is null)
            {% endif -%}
            and numbered.segment_date >= documents.from_date
            and numbered.segment_date < documents.to_date
    left join held on numbered.atom_number = held.atom_number
    where
        held.atom_number is null
        and numbered.basis = 'ended'
        and numbered.usage_class = 'billable'
        and numbered.quantity > 0
        and numbered.unit <> 'requests'
    {{ "union all" if not loop.last }}
    {% endfor %}
),

final as (
    select
        * exclude (atom_number),
        cast(null as varchar) as family
    from held
    union all by name
    select * exclude (atom_number)
    from unclaimed
)

select * from final
