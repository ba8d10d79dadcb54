{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['gateway', 'transaction_id'],
    on_schema_change='fail'
) }}
-- Grain: one row per gateway and transaction id of a wallet's history, in its newest version.
-- Kept as a table, of which the transactions that new rows name are replaced: a gateway that
-- deducts call by call writes millions of them.

with source as (
    select * from {{ source('wallet', 'wallet__transactions') }}
    {% if is_incremental() -%}
    where (_gateway, transaction_id) in ({{ touched_transactions() | indent(4) }})
    {%- endif %}
),

newest as (
    select
        *,
        min(occurred_at) over (partition by _gateway, transaction_id) as earliest_occurred_at
    from source
    qualify row_number() over (
        partition by _gateway, transaction_id
        order by occurred_at desc, _row_hash desc
    ) = 1
),

renamed as (
    select
        _gateway as gateway,
        transaction_id,
        wallet_id,
        occurred_at,
        type as gateway_type,
        case
            when type in ('checkout', 'purchase', 'topup') then 'purchase'
            when type in ('deduction', 'usage_debit') then 'usage_debit'
            when type in ('manual', 'adjustment') then 'adjustment'
            -- Money that goes back into the wallet is a usage refund, whatever its word.
            when type = 'usage_refund' or (type = 'refund' and amount > 0) then 'usage_refund'
            else type
        end as entry_type,
        -- An unsigned deduction is negative by its type.
        case
            when type in ('deduction', 'usage_debit', 'expiry') then -abs(amount)
            else amount
        end as amount,
        currency,
        description,
        gross,
        tax,
        fee,
        credited,
        payment_reference,
        request_id,
        window_from_at,
        window_to_at,
        balance_after,
        fx_rate,
        -- Where an earlier version stood: from there on a ledger that has it is drawn anew.
        earliest_occurred_at,
        _load_batch_id,
        _source as source
    from newest
)

select * from renamed
