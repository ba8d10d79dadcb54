select request_id, started_at, team_id, model, http_status, error_type
from marts.usage_records
where status = 'failure' and strftime(usage_date, '%Y-%m') = '{month}'
-- anchor
select count(request_id), count(started_at), count(team_id), count(model), count(http_status),
    count(error_type), count(status)
from marts.usage_records
where usage_date between date '{month}-01' and last_day(date '{month}-01')
