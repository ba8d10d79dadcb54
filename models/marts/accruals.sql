-- Grain: one row per account, provider account, billing month, cost center and currency (contract,
-- table T7): what providers are owed for and have not invoiced yet.
-- Usage that a wallet pays for is paid already and accrues nothing, but for calls on an own key.
-- An invoice is divided over the months and owners it covers by what was accrued, exactly.

with spend as (
    select * from {{ ref('int_spend__daily') }}
    where billing_mode <> 'subscription'
),

accounts as (
    select * from {{ ref('accounts') }}
),

invoices as (
    select
        vendor || '/' || invoice_number as invoice_number,
        provider_account_id,
        currency,
        strftime(period_start, '%Y-%m') as first_month,
        strftime(period_end, '%Y-%m') as last_month,
        coalesce(subtotal, total - coalesce(tax, 0)) as amount
    from {{ ref('invoices') }}
    where
        is_usage
        and invoice_type = 'invoice'
        and superseded_by_invoice_number is null
        and coalesce(approval_status, '') <> 'rejected'
),

accrued as (
    select
        spend.account_id,
        spend.provider_account_id,
        strftime(spend.billing_date, '%Y-%m') as billing_month,
        spend.cost_center,
        spend.currency,
        sum(spend.provider_cost) as accrued_amount
    from spend
    left join accounts on spend.account_id = accounts.account_id
    where accounts.wallet_id is null or spend.billing_mode = 'byok'
    group by all
),

covered as (
    select
        accrued.*,
        invoices.invoice_number,
        {{ in_last_decimals('invoices.amount') }} as invoice_places,
        abs({{ in_last_decimals('invoices.amount') }}) as places,
        {{ in_last_decimals('coalesce(accrued.accrued_amount, 0)') }} as known_weight,
        sum({{ in_last_decimals('coalesce(accrued.accrued_amount, 0)') }}) over (
            partition by invoices.invoice_number
        ) as known_weights,
        count(*) over (partition by invoices.invoice_number) as part_count
    from accrued
    inner join invoices
        on
            accrued.provider_account_id = invoices.provider_account_id
            and accrued.currency = invoices.currency
            and accrued.billing_month >= invoices.first_month
            and accrued.billing_month <= invoices.last_month
),

weighed as (
    select
        *,
        -- Where nothing is known of what was used, all bear alike.
        case when known_weights > 0 then known_weight else 1 end as weight,
        case when known_weights > 0 then known_weights else part_count end as total_weight
    from covered
),

divided as (
    select
        {{ share_by_long_division('places', 'weight', 'cast(total_weight as hugeint)') }},
        *
    from weighed
),

ranked as (
    select
        *,
        places - sum(quotient) over (partition by invoice_number) as left_over,
        row_number() over (
            partition by invoice_number
            order by
                remainder desc nulls last, billing_month asc nulls last,
                account_id asc nulls last, cost_center asc nulls last
        ) as place_in_line
    from divided
),

invoiced as (
    select
        account_id,
        provider_account_id,
        billing_month,
        cost_center,
        currency,
        sum({{ from_last_decimals(
            'cast(sign(invoice_places) * (quotient + case when place_in_line <= left_over then 1 '
            ~ 'else 0 end) as hugeint)'
        ) }}) as invoiced_amount,
        string_agg(invoice_number, ',' order by invoice_number) as invoice_number
    from ranked
    group by account_id, provider_account_id, billing_month, cost_center, currency
),

final as (
    select
        accrued.account_id,
        accrued.provider_account_id,
        accrued.billing_month,
        accrued.cost_center,
        accrued.currency,
        cast(accrued.accrued_amount as decimal(38, 18)) as accrued_amount,
        cast(invoiced.invoiced_amount as decimal(38, 18)) as invoiced_amount,
        cast(
            case when invoiced.invoice_number is null then 0 else accrued.accrued_amount end
            as decimal(38, 18)
        ) as reversed_amount,
        case when invoiced.invoice_number is null then 'open' else 'reversed' end as status,
        invoiced.invoice_number
    from accrued
    left join invoiced
        on
            accrued.account_id = invoiced.account_id
            and accrued.provider_account_id = invoiced.provider_account_id
            and accrued.billing_month = invoiced.billing_month
            and accrued.cost_center is not distinct from invoiced.cost_center
            and accrued.currency = invoiced.currency
)

select * from final
