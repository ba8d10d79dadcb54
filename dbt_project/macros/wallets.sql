{#- The transactions of wallets of which raw has news, as a query of gateway and id. -#}
{% macro touched_transactions() -%}
    select
        _gateway,
        transaction_id
    from {{ source('wallet', 'wallet__transactions') }}
    where {{ in_touched_days('occurred_at', ['wallet__transactions']) }}
{%- endmacro %}

{#- From when on the ledger of wallets is drawn anew, as text; none for from the beginning, '' for
    never. Unit tests and the linter draw it whole. -#}
{% macro ledger_from_at() -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" or not is_incremental() -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set row = run_query(
        "select is_whole, cast(from_at as varchar) from " ~ ref("int_wallet__changes")
    ).rows[0] -%}
    {{ return(none if row[0] else row[1] or "") }}
{%- endmacro %}

{#- A filter on what is drawn anew, by a moment or a day (columns of entries), or by a month of
    whatever time zone (billing_month). -#}
{% macro in_redrawn_ledger(column) -%}
    {%- set from_at = ledger_from_at() -%}
    {%- if from_at is none -%}
        true
    {%- elif not from_at -%}
        false
    {%- elif column == "billing_month" -%}
        {#- A debit window is a day at most, and no zone is a day away from UTC. -#}
        {%- set moment = modules.datetime.datetime.fromisoformat(from_at) - modules.datetime.timedelta(days=3) -%}
        {{ column }} >= '{{ moment.strftime("%Y-%m") }}'
    {%- else -%}
        {{ column }} >= timestamp '{{ from_at }}'
    {%- endif -%}
{%- endmacro %}

{#- The same by the day of usage, whose last debit stands at the next midnight; by a literal day, so
    that row groups are skipped. -#}
{% macro in_redrawn_days(column) -%}
    {%- set from_at = ledger_from_at() -%}
    {%- if not from_at -%}
        {{ "true" if from_at is none else "false" }}
    {%- else -%}
        {%- set moment = modules.datetime.datetime.fromisoformat(from_at) - modules.datetime.timedelta(days=1) -%}
        {{ column }} >= date '{{ moment.strftime("%Y-%m-%d") }}'
    {%- endif -%}
{%- endmacro %}

{#- Incremental strategy: what a table has from a moment, or a month, on goes, what was just selected
    comes. -#}
{% macro get_incremental_redrawn_ledger_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set column = config.require("redrawn_by") -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    delete from {{ target }} where {{ in_redrawn_ledger(column) }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#- The wallets of which a gateway says anything, or said when their windows were drawn last.
    reconciliation: the windows as they were drawn last. -#}
{% macro observed_wallets(reconciliation) -%}
    select wallet_id from {{ ref("int_wallets__described") }} where has_recorded_debits
    union
    select wallet_id from {{ ref("stg_wallet__transactions") }} where balance_after is not null
    union
    select accounts.wallet_id
    from {{ ref("accounts") }} as accounts
    inner join {{ ref("account_scopes") }} as account_scopes
        on accounts.account_id = account_scopes.account_id
    inner join {{ ref("stg_openrouter__credits") }} as credits
        on account_scopes.gateway = credits.gateway
    where accounts.wallet_id is not null
    union
    select wallet_id from {{ reconciliation }}
    where cause <> 'not_recorded' or reported_balance is not null
{%- endmacro %}

{#- A filter on the days whose windows are drawn anew. -#}
{% macro in_redrawn_windows(column) -%}
    {%- set from_at = ledger_from_at() -%}
    {%- if not from_at -%}
        {{ "true" if from_at is none else "false" }}
    {%- else -%}
        {{ column }} >= date '{{ from_at[:10] }}'
    {%- endif -%}
{%- endmacro %}

{#- Incremental strategy: the windows of days that are drawn anew go, and all of wallets of which a
    gateway says anything; what was just selected comes. -#}
{% macro get_incremental_redrawn_windows_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    delete from {{ target }}
    where {{ in_redrawn_windows("window_from_at") }} or wallet_id in ({{ observed_wallets(target) }});
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#- Whether any wallet's credits expire by its own terms, whatever its gateway says of them. -#}
{% macro has_expiring_wallets() -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(run_query(
        "select count(*) from " ~ ref("int_wallets__described") ~ " where expiry_days is not null"
    ).rows[0][0] > 0) }}
{%- endmacro %}

{#- A filter on the days whose debits of wallets are reckoned again: all where accounts or rates
    changed, for they reach debits of records that stand. -#}
{% macro in_debit_days(column) -%}
    {%- if build_plan()["has_new_seeds"] -%}
        true
    {%- else -%}
        {{ in_touched_days(column) }}
    {%- endif -%}
{%- endmacro %}

{#- Incremental strategy: the debits of these days go, what was just selected comes. -#}
{% macro get_incremental_debit_days_sql(arg_dict) -%}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") %}
    delete from {{ target }} where {{ in_debit_days("usage_date") }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{%- endmacro %}

{#- The columns of an entry of the ledger, but for its balance. -#}
{% macro ledger_columns(relation=none) -%}
    {%- set of = relation ~ "." if relation else "" -%}
    {%- for name in [
        "entry_id", "wallet_id", "account_id", "billing_month", "entry_type", "occurred_at", "happened_at",
    ] -%}
        {{ of }}{{ name }},
        {% endfor -%}
        cast({{ of }}amount as decimal(38, 18)) as amount,
        {{ of }}currency,
        {{ of }}payment_currency,
        {% for name in ["gross", "tax", "fee", "net", "credited"] -%}
        cast({{ of }}{{ name }} as decimal(38, 18)) as {{ name }},
        {% endfor -%}
        cast({{ of }}fx_rate as decimal(18, 12)) as fx_rate,
        {% for name in [
            "reported_balance_after", "reference", "payment_reference", "has_payment", "reverses_entry_id",
            "description", "request_id", "gateway", "window_from_at", "window_to_at", "origin",
        ] -%}
        {{ of }}{{ name }},
        {% endfor -%}
        {{ of }}is_wallet_known
{%- endmacro %}

{#- The ledger as it was drawn last, or none where all of it is drawn anew. -#}
{% macro drawn_ledger() -%}
    {%- if target.name == "lint" -%}
        {{ return(this) }}
    {%- elif not execute or model.resource_type == "unit_test" -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set plan = build_plan() -%}
    {%- if plan["is_every_day"] or plan["has_new_seeds"] or has_new_closes() -%}
        {{ return(none) }}
    {%- endif -%}
    {{ return(adapter.get_relation(this.database, "marts", "wallet_ledger")) }}
{%- endmacro %}

{#- What the last build was to draw of the ledger, where it did not end: some of it may be drawn, and
    what follows from that not. -#}
{% macro begun_ledger() -%}
    {%- set nothing = {"is_whole": false, "from_at": none} -%}
    {%- if not execute or target.name == "lint" or model.resource_type == "unit_test" -%}
        {{ return(nothing) }}
    {%- endif -%}
    {%- set begun = adapter.get_relation(this.database, this.schema, this.identifier) -%}
    {%- set is_unfinished = run_query(
        "select count(*) from audit.state where name = 'unfinished_build' and value = 'true'"
    ).rows[0][0] > 0 -%}
    {%- if begun is none or not is_unfinished -%}
        {{ return(nothing) }}
    {%- endif -%}
    {%- set rows = run_query("select is_whole, cast(from_at as varchar) from " ~ begun).rows -%}
    {%- for row in rows -%}
        {{ return({"is_whole": row[0], "from_at": row[1]}) }}
    {%- endfor -%}
    {{ return(nothing) }}
{%- endmacro %}

{#- Whether files brought anything for wallets besides usage. -#}
{% macro has_wallet_news() -%}
    {%- if not execute or target.name == "lint" -%}
        {{ return(true) }}
    {%- endif -%}
    {{ return(run_query("
        select count(*) from audit.touched_days
        where split_part(table_name, '__', 1) in ('wallet', 'stripe', 'razorpay')
        ").columns[0].values()[0] > 0) }}
{%- endmacro %}

{#- Whether a close came: it freezes what the ledger shows, and moves what is late. -#}
{% macro has_new_closes() -%}
    {%- if not execute or target.name == "lint" -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(run_query(
        "select count(*) from audit.touched_days where table_name = 'closes__rows'"
    ).columns[0].values()[0] > 0) }}
{%- endmacro %}

{#- Minutes of usage in one debit: an hour where nobody says so, a day at most. -#}
{% macro debit_minutes(minutes) -%}
    cast(least(greatest(coalesce({{ minutes }}, 60), 1), 1440) as bigint)
{%- endmacro %}

{#- Start of the debit window that a moment lies in; windows count from UTC midnight. -#}
{% macro debit_window_at(moment, minutes) -%}
    date_trunc('day', {{ moment }}) + {{ minutes }} * (
            date_diff('minute', date_trunc('day', {{ moment }}), {{ moment }}) // {{ minutes }}
        ) * interval 1 minute
{%- endmacro %}

{#- Its end: the last window of a day ends with it. -#}
{% macro debit_window_end_at(window_at, minutes) -%}
    least(
            {{ window_at }} + {{ minutes }} * interval 1 minute,
            date_trunc('day', {{ window_at }}) + interval 1 day
        )
{%- endmacro %}
