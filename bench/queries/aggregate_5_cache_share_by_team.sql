select team_id, sum(cache_hits) as cache_hits, sum(input_cached_read_tokens) as cached_tokens,
    sum(input_text_uncached_tokens) as uncached_tokens
from marts.team_daily_activity
group by all
-- anchor
select team_id, sum(case when requests > 0 and cache_hit then 1 else 0 end) as cache_hits,
    sum(input_cached_read_tokens) as cached_tokens,
    sum(input_text_uncached_tokens) as uncached_tokens
from marts.usage_records
where duplicate_of is null
group by all
