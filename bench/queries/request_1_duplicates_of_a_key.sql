select request_id, occurrence, started_at, duplicate_of, billed_cost
from marts.usage_records
where api_key_id = '{key}' and usage_date between date '{month}-01' and last_day(date '{month}-01')
qualify count(*) over (partition by request_id) > 1
-- anchor
select max(request_id), max(occurrence), max(started_at), max(duplicate_of),
    sum(billed_cost), max(api_key_id)
from marts.usage_records
where usage_date between date '{month}-01' and last_day(date '{month}-01')
