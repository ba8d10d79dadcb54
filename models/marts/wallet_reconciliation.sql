{{ config(
    materialized='incremental',
    incremental_strategy='redrawn_windows',
    on_schema_change='fail',
    meta={'rows_need': ['int_wallets__described', 'stg_openrouter__credits']}
) }}
-- Grain: one row per wallet and debit window: what usage costs against what the gateway deducted.
-- A debit is for the window it names, for the window of the request it names, else for everything
-- since the debit before it. Windows that one debit covers are one row.
-- Of a wallet whose gateway says nothing every window stands by itself, and those before the first
-- change of the ledger are kept; the rows of other wallets follow from one another and are drawn
-- anew.
-- depends_on: {{ ref('int_wallet__changes') }}, {{ ref('stg_wallet__transactions') }}

{%- set is_whole = ledger_from_at() is none %}

with wallets as (
    select * from {{ ref('int_wallets__described') }}
),

{% if is_whole -%}
windows as (
    select * from {{ ref('int_wallet__debits') }}
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
),
{%- else -%}
observed_wallets as (
    {{ observed_wallets(this) | indent(4) }}
),

windows as (
    select * from {{ ref('int_wallet__debits') }}
    where
        {{ in_redrawn_windows('usage_date') }}
        and wallet_id not in (select observed_wallets.wallet_id from observed_wallets)
    union all
    select * from {{ ref('int_wallet__debits') }}
    where wallet_id in (select observed_wallets.wallet_id from observed_wallets)
),

ledger as (
    select * from {{ ref('wallet_ledger') }}
    where wallet_id in (select observed_wallets.wallet_id from observed_wallets)
),
{%- endif %}

named_requests as (
    select distinct
        gateway,
        request_id
    from ledger
    where window_to_at is null and request_id is not null and gateway is not null
),

-- Most histories name no request, and then no usage is read.
usage as (
    select
        usage_records.gateway,
        usage_records.request_id,
        min(usage_records.started_at) as started_at
    from {{ ref('usage_records') }} as usage_records
    inner join named_requests
        on
            usage_records.gateway = named_requests.gateway
            and usage_records.request_id = named_requests.request_id
    where usage_records.duplicate_of is null
    group by usage_records.gateway, usage_records.request_id
),

credits as (
    select * from {{ ref('stg_openrouter__credits') }}
),

account_scopes as (
    select * from {{ ref('account_scopes') }}
),

accounts as (
    select * from {{ ref('accounts') }}
),

-- The wallet of a gateway whose usage is all one account's, or that of accounts with one wallet.
gateway_wallets as (
    select
        account_scopes.gateway,
        min(accounts.wallet_id) as wallet_id
    from account_scopes
    inner join accounts on account_scopes.account_id = accounts.account_id
    where account_scopes.scope_type = 'gateway'
    group by account_scopes.gateway
    having count(distinct accounts.wallet_id) = 1
),

recorded as (
    select
        ledger.wallet_id,
        ledger.entry_id,
        -- A debit that came after its month was closed is for then, wherever it is booked.
        ledger.happened_at as occurred_at,
        ledger.amount,
        ledger.window_from_at,
        ledger.window_to_at,
        ledger.request_id,
        wallets.debit_minutes,
        wallets.opening_at,
        case
            when ledger.window_to_at is null and ledger.request_id is not null
                then {{ debit_window_at(
                    'coalesce(usage.started_at, ledger.happened_at)', 'wallets.debit_minutes'
                ) | indent(16) }}
        end as request_window_at
    from ledger
    inner join wallets on ledger.wallet_id = wallets.wallet_id
    left join usage
        on ledger.gateway = usage.gateway and ledger.request_id = usage.request_id
    where
        (ledger.entry_type = 'usage_debit' and ledger.origin = 'gateway')
        or (ledger.origin = 'usage_correction' and ledger.gateway is not null)
),

spanned as (
    select
        wallet_id,
        entry_id,
        occurred_at,
        amount,
        window_to_at is not null or request_id is not null as is_named,
        case
            when window_to_at is not null
                then coalesce(window_from_at, window_to_at - debit_minutes * interval 1 minute)
            when request_id is not null then request_window_at
            else coalesce(
                lag(occurred_at) over (
                    partition by wallet_id, window_to_at is null and request_id is null
                    order by occurred_at, entry_id
                ),
                opening_at,
                occurred_at - debit_minutes * interval 1 minute
            )
        end as span_from_at,
        case
            when window_to_at is not null then window_to_at
            when request_id is not null
                then {{ debit_window_end_at('request_window_at', 'debit_minutes') | indent(16) }}
            else occurred_at
        end as span_to_at
    from recorded
),

spans as (
    select
        wallet_id,
        span_to_at,
        min(span_from_at) as span_from_at,
        bool_or(is_named) as is_named,
        count(*) as debits,
        -- A debit without an exchange rate is unknown.
        case when bool_and(amount is not null) then cast(-sum(amount) as decimal(38, 18)) end
            as recorded_debit
    from spanned
    group by wallet_id, span_to_at
),

timeline as (
    select
        wallet_id,
        window_to_at as at_moment,
        window_from_at,
        cast(null as timestamp) as span_to_at
    from windows
    union all
    select
        wallet_id,
        span_to_at as at_moment,
        null as window_from_at,
        span_to_at
    from spans
),

-- The first debit that ends with a window or after it.
followed as (
    select
        wallet_id,
        window_from_at,
        min(span_to_at) over (
            partition by wallet_id
            order by at_moment
            range between current row and unbounded following
        ) as span_to_at
    from timeline
),

assigned as (
    select
        windows.*,
        spans.span_to_at
    from windows
    left join followed
        on
            windows.wallet_id = followed.wallet_id
            and windows.window_from_at = followed.window_from_at
    left join spans
        on
            followed.wallet_id = spans.wallet_id
            and followed.span_to_at = spans.span_to_at
            and windows.window_to_at > spans.span_from_at
),

expected as (
    select
        wallet_id,
        coalesce(span_to_at, window_to_at) as row_to_at,
        span_to_at,
        min(window_from_at) as window_from_at,
        max(window_to_at) as window_to_at,
        sum(records) as records,
        sum(records_without_cost) as records_without_cost,
        bool_or(records > records_without_cost and usage_cost is null) as is_rate_missing,
        sum(usage_cost) as usage_cost
    from assigned
    group by wallet_id, row_to_at, span_to_at
),

joined as (
    select
        coalesce(expected.wallet_id, spans.wallet_id) as wallet_id,
        case
            when spans.is_named then least(spans.span_from_at, expected.window_from_at)
            else coalesce(expected.window_from_at, spans.span_from_at)
        end as window_from_at,
        case
            when spans.is_named then greatest(spans.span_to_at, expected.window_to_at)
            else coalesce(expected.window_to_at, spans.span_to_at)
        end as window_to_at,
        expected.usage_cost,
        coalesce(expected.is_rate_missing, false) as is_rate_missing,
        expected.records,
        expected.records_without_cost,
        spans.debits,
        spans.recorded_debit
    from expected
    full outer join spans
        on expected.wallet_id = spans.wallet_id and expected.span_to_at = spans.span_to_at
),

rows_of_windows as (
    select
        wallet_id,
        window_from_at,
        max(window_to_at) as window_to_at,
        sum(usage_cost) as usage_cost,
        bool_or(is_rate_missing) as is_rate_missing,
        coalesce(sum(records), 0) as records,
        coalesce(sum(records_without_cost), 0) as records_without_cost,
        coalesce(sum(debits), 0) as debits,
        case when bool_and(debits is null or recorded_debit is not null) then sum(recorded_debit)
        end as recorded_debit
    from joined
    group by wallet_id, window_from_at
),

-- Balances that gateways reported, each beside ours of that moment. Entries of one instant are one
-- step, as their order is a convention.
instants as (
    select
        wallet_id,
        occurred_at as reported_at,
        arg_max(balance_after, (origin <> 'opening', entry_id)) as ledger_balance,
        list(reported_balance_after) filter (reported_balance_after is not null) as reported,
        arg_max(reported_balance_after, entry_id) as last_reported
    from ledger
    group by wallet_id, occurred_at
),

reported_instants as (
    select
        *,
        last_value(
            case when len(reported) = 1 then last_reported - ledger_balance end ignore nulls
        ) over (
            partition by wallet_id
            order by reported_at
            rows between unbounded preceding and 1 preceding
        ) as earlier_offset
    from instants
    where last_reported is not null
),

observed as (
    select
        wallets.wallet_id,
        credits.observed_at as reported_at,
        credits.balance_amount as reported_balance,
        coalesce(arg_max(instants.ledger_balance, instants.reported_at), 0) as ledger_balance
    from credits
    inner join gateway_wallets on credits.gateway = gateway_wallets.gateway
    inner join wallets
        on gateway_wallets.wallet_id = wallets.wallet_id and credits.currency = wallets.currency
    left join instants
        on wallets.wallet_id = instants.wallet_id and credits.observed_at >= instants.reported_at
    group by wallets.wallet_id, credits.observed_at, credits.balance_amount
),

reports as (
    select
        wallet_id,
        reported_at,
        -- Of several balances of one instant the last is the one that follows from the entries.
        case
            when list_contains(reported, ledger_balance + coalesce(earlier_offset, 0))
                then ledger_balance + coalesce(earlier_offset, 0)
            else last_reported
        end as reported_balance,
        ledger_balance,
        true as is_entry
    from reported_instants
    union all
    select
        wallet_id,
        reported_at,
        reported_balance,
        ledger_balance,
        false as is_entry
    from observed
),

-- A gap is what the reported balance moved by, from one entry to the next, beyond the entries
-- we know. A balance asked for between debits knows usage that is not debited yet.
gaps as (
    select
        *,
        case
            when is_entry
                then
                    reported_balance - ledger_balance - lag(reported_balance - ledger_balance)
                        over (partition by wallet_id, is_entry order by reported_at)
        end as gap_amount
    from reports
),

placed as (
    select
        wallet_id,
        reported_at as at_moment,
        cast(null as timestamp) as window_from_at,
        reported_balance,
        ledger_balance,
        gap_amount
    from gaps
    union all
    select
        wallet_id,
        window_to_at as at_moment,
        window_from_at,
        null as reported_balance,
        null as ledger_balance,
        null as gap_amount
    from rows_of_windows
),

-- A report belongs to the last window that ended before it, or to the first of all.
placed_in_windows as (
    select
        * exclude (window_from_at),
        window_from_at is null as is_report,
        coalesce(
            max(window_from_at) over (
                partition by wallet_id
                order by at_moment
                range unbounded preceding
            ),
            min(window_from_at) over (partition by wallet_id)
        ) as window_from_at
    from placed
),

balances as (
    select
        wallet_id,
        window_from_at,
        arg_max(reported_balance, at_moment) as reported_balance,
        arg_max(ledger_balance, at_moment) as ledger_balance,
        sum(gap_amount) as balance_gap_amount
    from placed_in_windows
    where is_report
    group by wallet_id, window_from_at
),

compared as (
    select
        rows_of_windows.*,
        wallets.account_id,
        wallets.currency,
        wallets.time_zone,
        wallets.has_recorded_debits,
        {{ rounded_to_minor_unit(
            'coalesce(rows_of_windows.usage_cost, 0)', 'wallets.currency', 'wallets.debit_rounding'
        ) | indent(8) }} as rounded_cost,
        balances.reported_balance,
        balances.ledger_balance,
        balances.balance_gap_amount,
        min(case when rows_of_windows.debits > 0 then rows_of_windows.window_from_at end) over (
            partition by rows_of_windows.wallet_id
        ) as first_recorded_at,
        max(case when rows_of_windows.debits > 0 then rows_of_windows.window_to_at end) over (
            partition by rows_of_windows.wallet_id
        ) as last_recorded_at
    from rows_of_windows
    inner join wallets on rows_of_windows.wallet_id = wallets.wallet_id
    left join balances
        on
            rows_of_windows.wallet_id = balances.wallet_id
            and rows_of_windows.window_from_at = balances.window_from_at
),

differing as (
    select
        *,
        case when not is_rate_missing then rounded_cost end as expected_debit,
        case
            when not has_recorded_debits then 'not_recorded'
            when debits = 0 and window_to_at > last_recorded_at then 'pending'
            when debits = 0 and window_from_at < first_recorded_at then 'before_history'
        end as uncompared_cause,
        case when debits > 0 then recorded_debit else 0 end as compared_debit
    from compared
),

subtracted as (
    select
        *,
        case when uncompared_cause is null then compared_debit - expected_debit end
            as difference_amount
    from differing
),

judged as (
    select
        *,
        lag(difference_amount) over (partition by wallet_id order by window_from_at)
            as earlier_difference,
        lead(difference_amount) over (partition by wallet_id order by window_from_at)
            as later_difference
    from subtracted
),

final as (
    select
        wallet_id,
        window_from_at,
        window_to_at,
        account_id,
        {{ month_in('window_from_at', 'time_zone') }} as billing_month,
        currency,
        cast(expected_debit as decimal(38, 18)) as expected_debit,
        cast(case when debits > 0 then recorded_debit end as decimal(38, 18)) as recorded_debit,
        cast(difference_amount as decimal(38, 18)) as difference_amount,
        cast(records as bigint) as records,
        cast(records_without_cost as bigint) as records_without_cost,
        cast(debits as bigint) as debits,
        case
            when uncompared_cause is not null then uncompared_cause
            when difference_amount is null then 'no_exchange_rate'
            when difference_amount = 0 and coalesce(balance_gap_amount, 0) <> 0 then 'balance_gap'
            when difference_amount = 0 then 'matched'
            when records_without_cost > 0 then 'unpriced_usage'
            when debits = 0 then 'missing_debit'
            when records = 0 then 'missing_usage'
            when -difference_amount in (earlier_difference, later_difference) then 'next_window'
            when abs(difference_amount) <= {{ minor_unit('currency', "'stripe'") | indent(16) }}
                then 'rounding'
            else 'amount_differs'
        end as cause,
        cast(reported_balance as decimal(38, 18)) as reported_balance,
        cast(ledger_balance as decimal(38, 18)) as ledger_balance,
        cast(balance_gap_amount as decimal(38, 18)) as balance_gap_amount
    from judged
)

select * from final
