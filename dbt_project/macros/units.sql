{#- The units of the contract (table T9), in its order.
    name: column of usage_records. type: token, second, count or hour. side: input, output, none.
    falls_back_to: the unit whose price holds where a catalog quotes none for this one, because
    the provider bills it as ordinary input or output (LiteLLM 1.109.1 reads its map this way).
    stands_for: a measure of the same thing in tokens; whichever has a price is billed, never both.
    is_optional: an absent price means the provider does not charge for it. -#}
{% macro usage_units() -%}
    {{ return([
        {"name": "input_text_uncached_tokens", "type": "token", "side": "input"},
        {"name": "input_cached_read_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_cache_write_5m_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_cache_write_30m_tokens", "type": "token", "side": "input", "falls_back_to": "input_cache_write_5m_tokens"},
        {"name": "input_cache_write_1h_tokens", "type": "token", "side": "input", "falls_back_to": "input_cache_write_5m_tokens"},
        {"name": "input_cache_write_12h_tokens", "type": "token", "side": "input", "falls_back_to": "input_cache_write_5m_tokens"},
        {"name": "input_cache_write_unknown_ttl_tokens", "type": "token", "side": "input", "falls_back_to": "input_cache_write_5m_tokens"},
        {"name": "input_audio_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_audio_cached_tokens", "type": "token", "side": "input", "falls_back_to": "input_cached_read_tokens"},
        {"name": "input_image_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_video_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_tool_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "output_text_tokens", "type": "token", "side": "output", "falls_back_to": "output_image_tokens"},
        {"name": "output_reasoning_tokens", "type": "token", "side": "output", "falls_back_to": "output_text_tokens"},
        {"name": "output_audio_tokens", "type": "token", "side": "output", "falls_back_to": "output_text_tokens"},
        {"name": "output_image_tokens", "type": "token", "side": "output", "falls_back_to": "output_text_tokens"},
        {"name": "embedding_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "moderation_tokens", "type": "token", "side": "input", "falls_back_to": "input_text_uncached_tokens"},
        {"name": "input_audio_seconds", "type": "second", "side": "none", "stands_for": "input_audio_tokens"},
        {"name": "output_audio_seconds", "type": "second", "side": "none", "stands_for": "output_audio_tokens"},
        {"name": "input_video_seconds", "type": "second", "side": "none", "stands_for": "input_video_tokens"},
        {"name": "output_video_seconds", "type": "second", "side": "none"},
        {"name": "input_characters", "type": "count", "side": "none", "stands_for": "input_text_uncached_tokens"},
        {"name": "output_characters", "type": "count", "side": "none", "stands_for": "output_audio_tokens"},
        {"name": "input_images", "type": "count", "side": "none", "stands_for": "input_image_tokens"},
        {"name": "output_images", "type": "count", "side": "none", "stands_for": "output_image_tokens"},
        {"name": "input_pixels", "type": "count", "side": "none", "is_optional": true},
        {"name": "output_pixels", "type": "count", "side": "none", "is_optional": true},
        {"name": "ocr_pages", "type": "count", "side": "none"},
        {"name": "rerank_searches", "type": "count", "side": "none"},
        {"name": "web_search_calls", "type": "count", "side": "none"},
        {"name": "file_search_calls", "type": "count", "side": "none"},
        {"name": "maps_grounding_calls", "type": "count", "side": "none"},
        {"name": "code_sessions", "type": "count", "side": "none"},
        {"name": "tool_calls", "type": "count", "side": "none", "is_optional": true},
        {"name": "requests", "type": "count", "side": "none", "is_optional": true},
        {"name": "storage_gibibyte_hours", "type": "hour", "side": "none"},
        {"name": "provisioned_unit_hours", "type": "hour", "side": "none"},
    ]) }}
{%- endmacro %}

{#- Names of the units that a table of prices holds; of every unit where it cannot be asked. Of the
    forty units a catalog prices a dozen, and an aggregate of each costs as much as the rest. -#}
{% macro units_in(relation) -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(usage_units() | map(attribute="name") | list) }}
    {%- endif -%}
    {{ return(run_query("select distinct unit from " ~ relation).columns[0].values() | list) }}
{%- endmacro %}

{#- The units of which records of a relation have any, under a condition; all of them where nothing
    can be asked. What a statement does for each unit is planned for each, used or not. -#}
{% macro used_units(relation, condition) -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(usage_units()) }}
    {%- endif -%}
    {%- set counts = [] -%}
    {%- for unit in usage_units() -%}
        {%- do counts.append("max(" ~ unit.name ~ ") > 0") -%}
    {%- endfor -%}
    {%- set row = run_query(
        "select " ~ counts | join(", ") ~ " from " ~ relation ~ " where " ~ condition
        ).rows[0] -%}
    {%- set used = [] -%}
    {%- for unit in usage_units() -%}
        {%- if row[loop.index0] -%}
            {%- do used.append(unit) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(used or usage_units()) }}
{%- endmacro %}

{% macro token_units(side) -%}
    {%- set names = [] -%}
    {%- for unit in usage_units() if unit.type == "token" and unit.side == side -%}
        {%- do names.append(unit.name) -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{#- Whether a unit is the one its price is charged by, in a record with these prices. -#}
{% macro is_billed(unit, usage="usage", prices="prices") -%}
    {%- set price = prices ~ "." ~ unit.name ~ "_price" -%}
    {%- if unit.stands_for is defined -%}
        ({{ charges_instead_of_tokens(unit, usage, prices) }})
    {%- else -%}
        {%- set others = [] -%}
        {%- for other in usage_units() if other.stands_for is defined and other.stands_for == unit.name -%}
            {%- do others.append(charges_instead_of_tokens(other, usage, prices)) -%}
        {%- endfor -%}
        {%- if others -%}
            (not ({{ others | join(" or ") }}))
        {%- else -%}
            true
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro charges_instead_of_tokens(unit, usage, prices) -%}
    (coalesce({{ usage }}.{{ unit.name }}, 0) > 0
    and {{ prices }}.{{ unit.name }}_price is not null
    {%- if unit.name == "output_images" %}
    and not (coalesce({{ usage }}.output_image_tokens, 0) > 0 and {{ prices }}.is_output_image_token_priced)
    {%- endif -%}
    )
{%- endmacro %}

{#- Quantity times unit price at scale 18, exactly, in types that every engine keeps. -#}
{% macro priced_quantity(unit, quantity, price) -%}
    {%- if unit.type in ("token", "count") -%}
        cast(cast({{ quantity }} as decimal(12, 0)) * cast({{ price }} as decimal(25, 18)) as decimal(38, 18))
    {%- else -%}
        cast(cast({{ quantity }} as decimal(14, 6)) * cast({{ price }} as decimal(23, 18)) as decimal(38, 18))
    {%- endif -%}
{%- endmacro %}

{#- The same for a quantity that stands in no usage record. -#}
{% macro priced_tokens(quantity, price) -%}
    {{ priced_quantity({"type": "token"}, quantity, price) }}
{%- endmacro %}

{#- From here on a count is no quantity: its product with a price would fit no decimal. -#}
{% macro count_limit() -%}
    1000000000000
{%- endmacro %}

{#- From here on an amount per single unit is no price, for the same reason. -#}
{% macro price_limit() -%}
    100000
{%- endmacro %}

{#- What one unit of a record costs at list price; 0 where another measure of it is charged. -#}
{% macro list_cost_of(unit) -%}
    case
        when usage.{{ unit.name }} > 0 and {{ is_billed(unit) }} and prices.{{ unit.name }}_price is not null
            then {{ priced_quantity(unit, "usage." ~ unit.name, "prices." ~ unit.name ~ "_price") }}
        else 0
    end
{%- endmacro %}

{#- SQL type of a unit's quantity. -#}
{% macro unit_type(unit) -%}
    {{ return("bigint" if unit.type in ("token", "count") else "decimal(20, 6)") }}
{%- endmacro %}

{#- Whether a consumed unit has no price, and no other measure of the same thing is charged. -#}
{% macro is_unpriced(unit, usage="usage", prices="prices") -%}
    ({{ prices }}.{{ unit.name }}_price is null
    {%- if unit.stands_for is defined %}
    and coalesce({{ usage }}.{{ unit.stands_for }}, 0) = 0
    {%- else %}
    and {{ is_billed(unit, usage, prices) }}
    {%- endif -%}
    )
{%- endmacro %}

{#- What a record (alias usage) would cost at a price set (alias prices), in the currency of the
    prices; NULL where the set lacks the price of a consumed unit. -#}
{% macro cost_at_prices() -%}
    case
        when prices.price_set_id is null then null
        {% for unit in usage_units() if not (unit.is_optional is defined) -%}
        when usage.{{ unit.name }} > 0 and {{ is_unpriced(unit) }} then null
        {% endfor -%}
        else
            {% for unit in usage_units() -%}
            {{ list_cost_of(unit) }}
            {{ "+ " if not loop.last }}
            {%- endfor %}
    end
{%- endmacro %}

{#- The step `priced`: records of a step `usage` with the list cost of the same units at another
    model or tier, from a step `price_sets`. Of its wide rows only those of the models asked for are
    joined. -#}
{% macro priced_as(provider, model, service_tier) -%}
asked as (
    select * from price_sets
    where price_model in (select usage.{{ model }} from usage)
),

priced as (
    select
        usage.*,
        {{ cost_at_prices() | indent(8) }} as listed_cost
    from usage
    left join asked as prices
        on
            usage.{{ model }} = prices.price_model
            and usage.{{ provider }} is not distinct from prices.price_provider
            and {{ service_tier }} = prices.service_tier
            and usage.is_batch = prices.is_batch
            and usage.context_above_tokens = prices.context_above_tokens
            and usage.price_region = prices.price_region
            and usage.started_at >= prices.valid_from_at
            and usage.started_at < prices.valid_to_at
)
{%- endmacro %}
