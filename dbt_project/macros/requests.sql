{#- The UTC days of request_reconciliation to build, or none for every day. A request and its record
    lie a day apart at most, and who else may claim the record another: what changed on a day
    reaches two days either way. What is pending is judged anew by every clock. Where no application
    ever logged anything there is nothing to compare, and no usage is read. -#}
{% macro request_days() -%}
    {%- if execute and target.name != "lint" and model.resource_type != "unit_test" -%}
        {%- if not run_query("select 1 from raw.app__requests limit 1").rows -%}
            {{ return([]) }}
        {%- endif -%}
    {%- endif -%}
    {%- set touched = touched_days(raw_usage_tables() + ["app__requests", "price_sets", "owners"]) -%}
    {%- if touched is none or not execute or model.resource_type == "unit_test" -%}
        {{ return(touched) }}
    {%- endif -%}
    {%- set days = days_around(touched, 2) -%}
    {%- set table = adapter.get_relation(database=target.database, schema="marts", identifier="request_reconciliation") -%}
    {%- if table is not none -%}
        {%- set rows = run_query("select distinct cast(usage_date as varchar) from " ~ table ~ " where match_status = 'pending'").rows -%}
        {%- do days.extend(rows | map(attribute=0)) -%}
    {%- endif -%}
    {{ return(days | unique | list) }}
{%- endmacro %}

{#- Days (YYYY-MM-DD) and as many before and after each. -#}
{% macro days_around(days, margin) -%}
    {%- set found = [] -%}
    {%- for text in days -%}
        {%- set day = modules.datetime.datetime.strptime(text, "%Y-%m-%d") -%}
        {%- for offset in range(-margin, margin + 1) -%}
            {%- do found.append((day + modules.datetime.timedelta(days=offset)).strftime("%Y-%m-%d")) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found | unique | list) }}
{%- endmacro %}

{#- A filter on the days that request_reconciliation builds, and some around them to read. -#}
{% macro in_request_days(column, margin=0) -%}
    {%- set days = request_days() -%}
    {%- if days is none -%}
        true
    {%- elif not days -%}
        false
    {%- else -%}
        (
        {%- for first, last in day_ranges(days_around(days, margin)) %}
            {{ "or " if not loop.first }}({{ column }} >= timestamp '{{ first }}' and {{ column }} < timestamp '{{ last }}')
        {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}

{#- Incremental strategy of request_reconciliation: its days are replaced, and noted for those that
    publish and check days. -#}
{% macro get_incremental_request_days_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    insert into audit.pending_days
    select consumer, days.usage_date
    from (
        select distinct usage_date from {{ target }} where {{ in_request_days("usage_date") }}
        union
        select distinct usage_date from {{ arg_dict["temp_relation"] }}
    ) as days
    cross join (values ('publish'), ('check')) as consumers (consumer);
    delete from {{ target }} where {{ in_request_days("usage_date") }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#- Pairs of requests (CTE asked) and records (CTE logged) that are not in `paired` yet, with one name
    of the model, key and counts in common: within the minute that a moment falls into, the first
    with the first and so on. Each is in one pair at most. -#}
{% macro pairs_by_minute(moment_of_asked, moment_of_logged, paired) -%}
    select
        asked_ranked.gateway,
        asked_ranked.request_id,
        logged_ranked.usage_record_id
    from (
        select
            *,
            date_trunc('minute', {{ moment_of_asked }}) as slot_at,
            row_number() over (
                partition by
                    gateway, api_key_id, input_tokens, output_tokens, model_name,
                    date_trunc('minute', {{ moment_of_asked }})
                order by occurred_at, request_id
            ) as place
        from asked
        {%- if paired %}
        where (gateway, request_id) not in (select (gateway, request_id) from {{ paired }})
        {%- endif %}
    ) as asked_ranked
    inner join (
        select
            *,
            row_number() over (
                partition by
                    gateway, api_key_id, input_total_tokens, output_total_tokens, model_name,
                    date_trunc('minute', {{ moment_of_logged }})
                order by started_at, usage_record_id
            ) as place,
            date_trunc('minute', {{ moment_of_logged }}) as slot_at
        from logged
        {%- if paired %}
        where usage_record_id not in (select usage_record_id from {{ paired }})
        {%- endif %}
    ) as logged_ranked
        on
            asked_ranked.gateway = logged_ranked.gateway
            and asked_ranked.api_key_id = logged_ranked.api_key_id
            and asked_ranked.input_tokens = logged_ranked.input_total_tokens
            and asked_ranked.output_tokens = logged_ranked.output_total_tokens
            and asked_ranked.model_name = logged_ranked.model_name
            and asked_ranked.slot_at = logged_ranked.slot_at
            and asked_ranked.place = logged_ranked.place
    qualify
        row_number() over (
            partition by asked_ranked.gateway, asked_ranked.request_id
            order by logged_ranked.usage_record_id
        ) = 1
        and row_number() over (
            partition by logged_ranked.usage_record_id order by asked_ranked.request_id
        ) = 1
{%- endmacro %}

{#- Why a request and its record may differ, and what to do about it: the closed list. -#}
{% macro request_causes() -%}
    {{ return({
        "sync_delay": "Wait: the record may still come.",
        "failed_before_logging": "Nothing, unless the provider charges for it: the call failed before the gateway wrote it down.",
        "record_lost": "Find where the record was lost: decide its missing_usage_record.",
        "partial_stream": "Hold it against the usage the provider states: the stream broke off.",
        "estimated_usage": "Hold it against the usage the provider states: the gateway estimated.",
        "cached_tokens_left_out": "Have the application log input with its cached part.",
        "reasoning_tokens_left_out": "Have the application log output with its reasoning part.",
        "other_tokenizer": "Log the usage of the response, not a count of your own; if it is that, dispute the charge.",
        "markup": "Nothing, if the rule holds: the charge is the provider cost with its markup and fee.",
        "contract_price": "Have the application expect contract prices.",
        "gateway_price": "See cost_mismatch of that day: the gateway reckons with other prices.",
        "other_price": "Compare the unit prices in marts.cost_lines, and dispute the charge if they are wrong.",
        "unpriced": "Add the price of its model: until then its cost is unknown.",
        "logged_twice": "Decide its duplicate_request_id: it counts in no total.",
        "logged_by_two_gateways": "Nothing: one call that two gateways saw, counted once.",
        "charged_twice": "Decide its suspected_double_charge: one request, two answers charged.",
        "further_attempt": "Nothing, unless it was charged: see failed_retry and charged_failure.",
        "app_log_late": "Wait: the log of the application may still come.",
        "not_logged_by_app": "Find out who made the call: no application logged it.",
    }) }}
{%- endmacro %}

{% macro request_action(cause) -%}
    case {{ cause }}
    {%- for name, action in request_causes().items() %}
        when '{{ name }}' then '{{ action }}'
    {%- endfor %}
    end
{%- endmacro %}

{#- A local moment so many working days (Monday to Friday) later, at the same hour; a weekend counts
    as the Monday morning after it. -#}
{% macro working_days_after(moment, days) -%}
    {%- set monday -%}
    case
        when isodow({{ moment }}) > 5 then date_trunc('week', {{ moment }}) + interval 7 day
        else {{ moment }}
    end
    {%- endset -%}
    {%- set weekday -%}
    case when isodow({{ moment }}) > 5 then 0 else isodow({{ moment }}) - 1 end
    {%- endset -%}
    (
        {{ monday | indent(8) }}
        + ({{ days }} + 2 * cast(floor(({{ weekday }} + {{ days }}) / 5) as integer))
        * interval 1 day
    )
{%- endmacro %}

{#- A mean of money to 14 places: a division is binary, and what it adds behind them is no money. -#}
{% macro mean_cost(total, count) -%}
    cast(cast({{ total }} / nullif({{ count }}, 0) as decimal(34, 14)) as decimal(38, 18))
{%- endmacro %}
