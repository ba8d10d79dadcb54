-- Grain: one row per wallet and span of time in which its balance was below zero.

with episodes as (
    {{ balance_episodes('balance_after < 0') }}
),

described as (
    select
        account_id,
        billing_month,
        currency,
        -lowest_balance as amount_at_stake,
        'wallet' as subject_type,
        wallet_id || '/' || first_entry_id as subject_id,
        cast(ended_at as varchar) as evidence_keys,
        {{ evidence_of_episode() }} as evidence
    from episodes
),

final as (
    select
        {{ exception_columns(
            type='negative_balance',
            severity='error',
            is_blocking=false,
            suggested_action='Top the wallet up, or find out why usage went on without money.'
        ) }}
    from described
)

select * from final
