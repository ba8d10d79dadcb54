{#- The day of a moment in a zone; most are kept in UTC, which needs no calendar. -#}
{% macro local_date(moment, zone) -%}
    case
        when {{ zone }} = 'UTC' then cast({{ moment }} as date)
        else cast(timezone({{ zone }}, timezone('UTC', {{ moment }})) as date)
    end
{%- endmacro %}

{#- The half hour of a moment on the first or last day of a UTC month, so that months of any zone
    can be told apart in sums; NULL on other days. -#}
{% macro month_edge(moment) -%}
    case
        when
            day({{ moment }}) = 1 or day(cast({{ moment }} as date) + 1) = 1
            then time_bucket(interval 30 minute, {{ moment }})
    end
{%- endmacro %}

{#- Quantity of many records times unit price, exact at scale 18; NULL beyond 10^15, which no
    slice of a day can be. -#}
{% macro sliced_cost(quantity, price) -%}
    case
        when {{ quantity }} = trunc({{ quantity }})
            then cast(
                try_cast({{ quantity }} as decimal(15, 0)) * cast({{ price }} as decimal(23, 18))
                as decimal(38, 18)
            )
        else cast(
            try_cast({{ quantity }} as decimal(14, 6)) * cast({{ price }} as decimal(23, 18))
            as decimal(38, 18)
        )
    end
{%- endmacro %}

{#- Below this, what a sum lacks is the rounding of its parts to 18 places, not a charge. -#}
{% macro dust() -%}
    0.000001
{%- endmacro %}

{#- Causes of a variance, in the order in which they are taken off (contract, table T6). -#}
{% macro variance_causes() -%}
    {{ return([
        "tax", "fee", "credit", "fx", "time_zone", "period_straddle", "late_usage", "byok",
        "duplicate_usage", "failed_request", "retry_charge", "partial_stream", "missing_usage",
        "bypass_traffic", "model_mapping", "unit_mismatch", "cache_split", "service_tier",
        "context_band", "unpriced", "price_version", "commitment", "markup", "rounding",
        "unexplained",
    ]) }}
{%- endmacro %}

{#- How many of our units one of an invoice line's is, by the words of its unit. -#}
{% macro line_unit_size(column) -%}
    case
        when regexp_matches(lower({{ column }}), '^(m|million|1,?000,?000) ?(tokens?|tok|characters?)?$') or lower({{ column }}) in ('mtok', '1m tokens', 'per 1m tokens') then 1000000
        when regexp_matches(lower({{ column }}), '^(k|thousand|1,?000) ?(tokens?|tok|characters?|requests?|calls?|searches)?$') or lower({{ column }}) in ('ktok', '1k tokens', 'per 1k tokens') then 1000
        else {{ quantity_factor(column) }}
    end
{%- endmacro %}

{#- Factors by which two quantities of one thing differ when their units do. -#}
{% macro unit_factors() -%}
    {{ return(["1000000", "1000", "100", "60", "0.000001", "0.001", "0.01"]) }}
{%- endmacro %}

{#- The classes of usage that a bill should not hold: which of them are taken together, fewest first. -#}
{% macro unbilled_classes() -%}
    {{ return(["byok", "duplicate", "failed", "retry"]) }}
{%- endmacro %}

{% macro unbilled_subsets() -%}
    {%- set subsets = [] -%}
    {%- for size in range(1, 5) -%}
        {%- for mask in range(1, 16) -%}
            {%- set chosen = [] -%}
            {%- for number in range(4) -%}
                {%- if (mask // (2 ** number)) % 2 == 1 -%}
                    {%- do chosen.append(unbilled_classes()[number]) -%}
                {%- endif -%}
            {%- endfor -%}
            {%- if chosen | length == size -%}
                {%- do subsets.append(chosen) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(subsets) }}
{%- endmacro %}

{#- The steps from a step `facing`, a slice's quantity and money as its vendor states them beside
    ours, to `explained`, with the amount of every cause that quantities and prices are evidence of.
    What quantities lack elsewhere in the same family (model, tier, part of the input) has moved; of
    the rest, classes of usage that fit exactly go first, then repeats and own keys that fit, then
    streams that broke, and what remains is missing. A cause is the change of what is expected:
    quantity times our price, and at last price by price. -#}
{% macro explaining_steps() %}
known_prices as (
    select
        provider,
        model,
        unit,
        service_tier,
        is_batch,
        context_band,
        currency,
        unit_price
    from {{ ref('int_prices__known') }}
    group by all
),

factored as (
    select
        *,
        case
            when vendor_quantity = our_quantity or our_quantity <= 0 then null
            {% for factor in unit_factors() -%}
            when vendor_quantity = our_quantity * {{ factor }} then {{ factor }}
            {% endfor -%}
        end as unit_factor,
        unit in (
            'input_text_uncached_tokens', 'input_cached_read_tokens',
            'input_cache_write_5m_tokens', 'input_cache_write_1h_tokens',
            'input_cache_write_unknown_ttl_tokens'
        ) as is_text_input
    from facing
),

exceeding as (
    select
        *,
        case
            when vendor_quantity is null or unit_factor is not null then 0
            -- Money that agrees needs no cause, unless it agrees with what is counted as well.
            when
                abs(vendor_amount - expected_amount) <= rounding_amount + 0.000000001
                and coalesce(
                    abs(
                        vendor_amount - expected_amount
                        - {{ sliced_cost('(vendor_quantity - our_quantity - late_quantity)', 'unit_price') }}
                    ) > rounding_amount,
                    true
                )
                then 0
            else vendor_quantity - our_quantity - late_quantity
        end as excess
    from factored
),

cached as (
    select
        * exclude (excess),
        case
            when
                is_text_input and excess <> 0
                and sum(excess) over (
                    partition by family, model, service_tier, is_batch, is_text_input
                ) = 0
                -- Between lines of one part it moved otherwise.
                and sum(excess) over (
                    partition by family, model, service_tier, is_batch, unit
                ) <> 0
                then excess
            else 0
        end as cache_split_quantity,
        excess as excess_before_cache
    from exceeding
),

tiered as (
    select
        *,
        case
            when
                excess_before_cache <> cache_split_quantity
                and sum(excess_before_cache - cache_split_quantity) over (
                    partition by family, model, unit
                ) = 0
                then excess_before_cache - cache_split_quantity
            else 0
        end as service_tier_quantity,
        -- Of one tier, it moved between lines of one model that have a price each.
        coalesce(
            min(service_tier) over moving = max(service_tier) over moving
            and min(is_batch) over moving = max(is_batch) over moving
            and min(unit_price) over moving < max(unit_price) over moving,
            false
        ) as is_between_prices
    from cached
    window moving as (partition by family, model, unit)
),

untiered as (
    select
        *,
        excess_before_cache - cache_split_quantity - service_tier_quantity as excess_of_model
    from tiered
),

renamed_models as (
    select
        *,
        case
            when
                excess_of_model <> 0 and unit is not null
                and (
                    sum(excess_of_model) over (
                        partition by family, unit, service_tier, is_batch, abs(excess_of_model)
                    ) = 0
                    or sum(excess_of_model) over (
                        partition by family, unit, service_tier, is_batch
                    ) = 0
                )
                then excess_of_model
            else 0
        end as model_mapping_quantity
    from untiered
),

fitted as (
    select
        *,
        excess_of_model - model_mapping_quantity as excess,
        case
            when excess_of_model - model_mapping_quantity <= 0 then 'none'
            {% for chosen in unbilled_subsets() -%}
            when
                {% for name in chosen -%}
                {{ name }}_quantity > 0 and {{ "" -}}
                {% endfor -%}
                excess_of_model - model_mapping_quantity = {{ chosen | join("_quantity + ") }}_quantity
                then '{{ chosen | join(",") }}'
            {% endfor -%}
            else 'inexact'
        end as fit
    from renamed_models
),

taken_own as (
    select
        *,
        case
            when contains(fit, 'byok') or (fit = 'inexact' and byok_quantity <= excess)
                then byok_quantity
            else 0
        end as byok_taken,
        case when contains(fit, 'failed') then failed_quantity else 0 end as failed_taken,
        case when contains(fit, 'retry') then retry_quantity else 0 end as retry_taken
    from fitted
),

-- Repeats are part of a larger surplus only if they fit into it in every unit, and if more calls
-- are surplus than were repeated: as many calls with other tokens are other calls.
sized as (
    select
        *,
        bool_and(duplicate_quantity <= excess - byok_taken) filter (
            where unit is distinct from 'requests' and duplicate_quantity > 0
        ) over calls
        and coalesce(
            max(vendor_quantity - our_quantity) filter (where unit = 'requests') over calls
            > max(duplicate_quantity) filter (where unit = 'requests') over calls,
            true
        ) as has_room_for_repeats
    from taken_own
    window calls as (partition by family, model, service_tier, is_batch)
),

taken as (
    select
        *,
        case
            when
                contains(fit, 'duplicate')
                or (fit = 'inexact' and has_room_for_repeats)
                then duplicate_quantity
            else 0
        end as duplicate_taken
    from sized
),

remaining as (
    select
        *,
        excess - byok_taken - duplicate_taken - failed_taken - retry_taken as rest
    from taken
),

streamed as (
    select
        *,
        case
            when
                has_partial and rest > bypass_quantity and unit like 'output%'
                and not coalesce(
                    bool_or(rest > 0 and unit like 'input%') over (
                        partition by family, model, service_tier, is_batch
                    ),
                    false
                )
                then rest - bypass_quantity
            else 0
        end as partial_stream_quantity
    from remaining
),

sorted_out as (
    select
        *,
        case
            when rest - partial_stream_quantity <= 0 then 0
            when not is_seen then rest - partial_stream_quantity
            else least(rest - partial_stream_quantity, bypass_quantity)
        end as bypass_traffic_quantity,
        greatest(
            case
                when not is_seen then 0
                else rest - partial_stream_quantity
                    - least(greatest(rest - partial_stream_quantity, 0), bypass_quantity)
            end,
            0
        ) as missing_usage_quantity
    from streamed
),

-- What is more or less by quantity has a price; the rest of the line has its own already.
weighed as (
    select
        *,
        {% for cause, name in [["byok", "byok"], ["duplicate_usage", "duplicate"], ["failed_request", "failed"], ["retry_charge", "retry"]] -%}
        coalesce(
            day_{{ cause }}_amount, case when {{ name }}_taken > 0 then {{ name }}_cost else 0 end
        ) as {{ cause }}_amount,
        {% endfor -%}
        cast(
            late_quantity + model_mapping_quantity + cache_split_quantity + service_tier_quantity
            {%- for cause in ["partial_stream", "missing_usage", "bypass_traffic"] %}
            + case when day_{{ cause }}_amount is null then {{ cause }}_quantity else 0 end
            {%- endfor %} as decimal(26, 6)
        ) as moved_quantity
    from sorted_out
),

settling as (
    select
        *,
        cast(
            expected_amount + coalesce(byok_amount, 0) + coalesce(duplicate_usage_amount, 0)
            + coalesce(failed_request_amount, 0) + coalesce(retry_charge_amount, 0)
            {%- for cause in ["partial_stream", "missing_usage", "bypass_traffic"] %}
            + coalesce(day_{{ cause }}_amount, 0)
            {%- endfor %} as decimal(38, 18)
        ) as settled_amount
    from weighed
),

-- Where prices changed on the days of a line, what moved was used at those that give the amounts
-- of its model's lines together; an amount that lies between them was used at both.
offers as (
    select
        row_id,
        family,
        model,
        service_tier,
        is_batch,
        vendor_amount,
        settled_amount,
        moved_quantity,
        rounding_amount,
        unit_price,
        unnest(window_prices) as window_price,
        generate_subscripts(window_prices, 1) as price_number
    from settling
    where moved_quantity <> 0 and len(window_prices) > 1
),

offered as (
    select
        *,
        {{ sliced_cost('moved_quantity', 'window_price') }} as moved_cost,
        abs(
            vendor_amount - settled_amount
            - {{ sliced_cost('moved_quantity', 'window_price') }}
        ) as misfit
    from offers
),

rated_offers as (
    select
        *,
        count(*) filter (where misfit <= rounding_amount + 0.000000001) over alike as fitting_lines,
        sum(misfit) over alike as misfits
    from offered
    window alike as (partition by family, model, service_tier, is_batch, price_number)
),

chosen_prices as (
    select
        row_id,
        window_price
    from rated_offers
    where misfit <= rounding_amount + 0.000000001
    qualify row_number() over (
        partition by row_id
        order by
            fitting_lines desc,
            misfits asc,
            coalesce(window_price = unit_price, false) desc,
            window_price asc
    ) = 1
),

mixed_prices as (
    select
        row_id,
        cast(
            max((vendor_amount - settled_amount) / moved_quantity) as decimal(38, 18)
        ) as window_price
    from offered
    where moved_quantity > 0
    group by row_id
    having
        min(moved_cost) < max(vendor_amount - settled_amount)
        and max(moved_cost) > max(vendor_amount - settled_amount)
),

moved as (
    select
        settling.*,
        coalesce(
            chosen_prices.window_price, mixed_prices.window_price, settling.unit_price
        ) as moved_price
    from settling
    left join chosen_prices on settling.row_id = chosen_prices.row_id
    left join mixed_prices on settling.row_id = mixed_prices.row_id
),

valued as (
    select
        *,
        {{ sliced_cost('late_quantity', 'moved_price') }} as late_usage_amount,
        {% for cause in ["partial_stream", "missing_usage", "bypass_traffic"] -%}
        coalesce(
            day_{{ cause }}_amount, {{ sliced_cost(cause ~ '_quantity', 'moved_price') }}
        ) as {{ cause }}_amount,
        {% endfor -%}
        {% for cause in ["model_mapping", "cache_split"] -%}
        {{ sliced_cost(cause ~ '_quantity', 'moved_price') }} as {{ cause }}_amount,
        {% endfor -%}
        {{ sliced_cost('service_tier_quantity', 'moved_price') }} as moved_tier_amount
    from moved
),

counted_amounts as (
    select
        *,
        cast(
            expected_amount + coalesce(late_usage_amount, 0) + coalesce(byok_amount, 0)
            + coalesce(duplicate_usage_amount, 0) + coalesce(failed_request_amount, 0)
            + coalesce(retry_charge_amount, 0) + coalesce(partial_stream_amount, 0)
            + coalesce(missing_usage_amount, 0) + coalesce(bypass_traffic_amount, 0)
            + coalesce(model_mapping_amount, 0) + coalesce(cache_split_amount, 0)
            + coalesce(moved_tier_amount, 0) as decimal(38, 18)
        ) as expected_by_quantity
    from valued
),

scaled as (
    select
        *,
        case
            when
                vendor_amount is null
                or abs(vendor_amount - expected_by_quantity) <= rounding_amount
                then 0
            {% for factor in unit_factors() -%}
            when
                (unit_factor = {{ factor }} or (unit_factor is null and abs(vendor_amount) >= 1))
                and abs(
                    vendor_amount - {{ scaled_amount('expected_by_quantity', factor) }}
                ) <= rounding_amount
                then {{ scaled_amount('expected_by_quantity', factor) }} - expected_by_quantity
            {% endfor -%}
            else 0
        end as unit_mismatch_amount
    from counted_amounts
),

price_matches as (
    select
        scaled.row_id,
        known_prices.unit_price as billed_price,
        case
            when
                known_prices.service_tier <> scaled.our_tier
                or known_prices.is_batch <> scaled.our_is_batch
                then 'service_tier'
            when coalesce(known_prices.context_band, '') <> coalesce(scaled.our_band, '')
                then 'context_band'
            else 'price_version'
        end as cause
    from scaled
    inner join known_prices
        on
            scaled.provider = known_prices.provider
            and scaled.our_model = known_prices.model
            and scaled.our_unit = known_prices.unit
            and scaled.currency = known_prices.currency
    where
        scaled.vendor_quantity > 0
        and scaled.unit_price is not null
        and scaled.unit_mismatch_amount = 0
        and scaled.unit_factor is null
        and abs(scaled.vendor_amount - scaled.expected_by_quantity) > scaled.rounding_amount
        and abs(
            scaled.vendor_amount
            - {{ sliced_cost('scaled.vendor_quantity', 'known_prices.unit_price') }}
        ) <= scaled.rounding_amount + 0.000000001
    qualify row_number() over (
        partition by scaled.row_id
        order by
            coalesce(known_prices.unit_price = scaled.vendor_unit_price, false) desc,
            -- An amount of a few cents fits several prices: the line's own tier goes first.
            known_prices.service_tier = scaled.our_tier
            and known_prices.is_batch = scaled.our_is_batch
            and coalesce(known_prices.context_band, '') = coalesce(scaled.our_band, '') desc,
            abs(known_prices.unit_price - scaled.vendor_unit_price) asc nulls last,
            abs(
                scaled.vendor_amount
                - {{ sliced_cost('scaled.vendor_quantity', 'known_prices.unit_price') }}
            ) asc,
            known_prices.service_tier = coalesce(scaled.service_tier, scaled.our_tier) desc,
            known_prices.is_batch = coalesce(scaled.is_batch, scaled.our_is_batch) desc,
            coalesce(known_prices.context_band, '') = coalesce(scaled.our_band, '') desc,
            known_prices.unit_price asc,
            known_prices.service_tier asc,
            known_prices.is_batch asc,
            known_prices.context_band asc nulls first
    ) = 1
),

repriced as (
    select
        scaled.*,
        price_matches.cause as price_cause,
        case
            when price_matches.row_id is null then 0
            else
                {{ sliced_cost('scaled.vendor_quantity', 'price_matches.billed_price') }}
                - scaled.expected_by_quantity
        end as price_amount
    from scaled
    left join price_matches on scaled.row_id = price_matches.row_id
),

explained as (
    select
        * exclude (moved_tier_amount, price_amount),
        case when is_between_prices then 0 else coalesce(moved_tier_amount, 0) end
        + case when price_cause = 'service_tier' then price_amount else 0 end
            as service_tier_amount,
        case when price_cause = 'context_band' then price_amount else 0 end as context_band_amount,
        case when is_between_prices then coalesce(moved_tier_amount, 0) else 0 end
        + case when price_cause = 'price_version' then price_amount else 0 end
            as price_version_amount,
        -- What has no price of ours is explained by that, as far as its quantity is the vendor's.
        case
            when vendor_amount is null or unpriced_quantity <= 0 or price_amount <> 0 then 0
            when unit_mismatch_amount <> 0 then 0
            when abs(vendor_amount - expected_by_quantity) <= rounding_amount then 0
            when unpriced_quantity >= vendor_quantity then vendor_amount - expected_by_quantity
            when vendor_unit_price is not null
                then {{ sliced_cost('least(unpriced_quantity, vendor_quantity)', 'vendor_unit_price') }}
            else vendor_amount - expected_by_quantity
        end as unpriced_amount
    from repriced
)
{%- endmacro %}

{#- The causes that the steps above judge. -#}
{% macro causes_by_slice() -%}
    {{ return([
        "late_usage", "byok", "duplicate_usage", "failed_request", "retry_charge",
        "partial_stream", "missing_usage", "bypass_traffic", "model_mapping", "unit_mismatch",
        "cache_split", "service_tier", "context_band", "unpriced", "price_version",
    ]) }}
{%- endmacro %}

{#- Those of which the provider's days are better evidence than a whole line. -#}
{% macro causes_by_day() -%}
    {{ return([
        "byok", "duplicate_usage", "failed_request", "retry_charge", "partial_stream",
        "missing_usage", "bypass_traffic",
    ]) }}
{%- endmacro %}

{#- Half of the smallest amount of a currency that is paid, as ISO 4217 has it. -#}
{% macro half_minor_unit(currency) -%}
    case
        when {{ currency }} in ('JPY', 'KRW', 'VND', 'CLP', 'ISK', 'UGX', 'XAF', 'XOF', 'XPF', 'PYG', 'RWF', 'BIF', 'DJF', 'GNF', 'KMF', 'VUV') then 0.5
        when {{ currency }} in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 0.0005
        else 0.005
    end
{%- endmacro %}

{#- The day of a slice in a zone: known for UTC and for the provider's own zone; of another zone
    where the slice is near a month's edge, and elsewhere taken as the day in UTC. -#}
{% macro slice_date(utc_date, local_date, edge, zone, own_zone) -%}
    case
        when {{ zone }} = 'UTC' then {{ utc_date }}
        when {{ zone }} = {{ own_zone }} then {{ local_date }}
        when {{ edge }} is not null then cast(timezone({{ zone }}, timezone('UTC', {{ edge }})) as date)
        else {{ utc_date }}
    end
{%- endmacro %}

{#- How much of what lines alike share belongs to them up to a mark, which is a quantity where they
    have one and else an amount. -#}
{% macro share_until(basis, part, mark, is_all) -%}
    case
        when {{ is_all }} then {{ basis }}_{{ part }}
        when quantity is null
            then case
                when {{ basis }}_amount = 0 then 0
                {%- if part == "amount" %}
                else greatest(least({{ mark }}, {{ basis }}_amount), 0)
                {%- else %}
                else {{ converted(basis ~ "_" ~ part, "cast(greatest(least(" ~ mark ~ ", " ~ basis ~ "_amount), 0) / " ~ basis ~ "_amount as decimal(18, 12))") }}
                {%- endif %}
            end
        {%- if part == "quantity" %}
        else greatest(least({{ mark }}, {{ basis }}_quantity), 0)
        {%- else %}
        when {{ mark }} >= {{ basis }}_quantity then {{ basis }}_{{ part }}
        when {{ basis }}_{{ part }} = {{ sliced_cost(basis ~ "_quantity", "priced_at") }}
            then {{ sliced_cost("(" ~ mark ~ ")", "priced_at") }}
        else {{ converted(basis ~ "_" ~ part, "cast((" ~ mark ~ ") / " ~ basis ~ "_quantity as decimal(18, 12))") }}
        {%- endif %}
    end
{%- endmacro %}

{#- An amount times a factor of units, exact; a million is a thousand twice, for a rate has six
    digits at most. -#}
{% macro scaled_amount(amount, factor) -%}
    {%- if factor == "1000000" -%}
        {{ converted("(" ~ converted(amount, "1000") ~ ")", "1000") }}
    {%- else -%}
        {{ converted(amount, factor) }}
    {%- endif -%}
{%- endmacro %}

{#- The day on which calls of a slice began, and ended, in a zone. -#}
{% macro started_slice_date(slices, zone) -%}
    {{ slice_date(slices ~ ".usage_date", slices ~ ".local_usage_date", slices ~ ".started_edge_at", zone, slices ~ ".provider_time_zone") }}
{%- endmacro %}

{% macro ended_slice_date(slices, zone) -%}
    {{ slice_date(slices ~ ".provider_date", slices ~ ".local_provider_date", slices ~ ".ended_edge_at", zone, slices ~ ".provider_time_zone") }}
{%- endmacro %}
