select request_id, occurrence, started_at, duplicate_of, billed_cost
from marts.usage_records
where api_key_id = '{key}' and strftime(usage_date, '%Y-%m') = '{month}'
qualify count(*) over (partition by request_id) > 1
-- anchor
select count(request_id), count(occurrence), count(started_at), count(duplicate_of),
    sum(billed_cost), count(api_key_id)
from marts.usage_records
where usage_date between date '{month}-01' and last_day(date '{month}-01')
