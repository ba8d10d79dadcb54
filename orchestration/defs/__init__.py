"""The only place that knows Dagster: assets, checks, resources, jobs and schedules."""
