select usage_date, provider, sum(billed_cost) as billed_cost, sum(input_text_uncached_tokens) as tokens
from marts.daily_spend
group by all
-- anchor
select usage_date, provider, sum(billed_cost) as billed_cost, sum(input_text_uncached_tokens) as tokens
from marts.usage_records
where duplicate_of is null
group by all
