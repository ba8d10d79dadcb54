"""Deterministic spend logs and price catalogs in LiteLLM's shape, written by DuckDB.

Usage: python bench/generate.py logs OUT --rows 200000 [--first 0] [--rows-per-hour 100000]
       python bench/generate.py catalogs FOLDER [--dates 50]

Every value follows from the row's number alone, so any two ranges of rows are disjoint parts of
one endless log. What a row spent is its quantities times the prices of its day, to the last digit.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import zstandard

# Row 0 starts here; the log grows from it.
ORIGIN = datetime(2026, 7, 1)  # noqa: DTZ001  # naive UTC, as everywhere
KEYS, MODELS, TEAMS = 2_000, 3_000, 120
PRICE_DATES = 50
BAND = 200_000
# A copy of a row follows it at this distance, so some stand in the next file.
COPY_LAG = 500
# One nano-dollar a token is a thousandth of a dollar a million tokens; prices are whole
# pico-dollars, so every cost is an exact integer here.
PICO = 10**12


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


# Shares of the public traces, and their token counts at every twentieth quantile:
# Azure 2023 conversation and code (CC-BY-4.0), Mooncake conversation (Apache-2.0), arXiv
# summarisation (vidur, MIT).
TRACES = (
    (
        45,
        _numbers(
            "2 181 207 372 387 396 403 414 703 984 1020 1045 1071 1097 1130 1189 1315 1877 2735 "
            "4083 14050"
        ),
        _numbers("7 41 54 67 77 85 91 96 103 113 129 151 177 217 384 395 400 411 424 451 1000"),
    ),
    (
        20,
        _numbers(
            "3 75 147 232 385 578 770 938 1075 1261 1469 1690 1909 2164 2433 2745 3193 3923 5194 "
            "7315 7437"
        ),
        _numbers("6 6 7 7 8 9 9 10 11 12 13 14 16 18 20 24 29 39 55 90 1899"),
    ),
    (
        20,
        _numbers(
            "891 901 964 1261 1662 2306 3263 4250 4993 5870 6909 8187 9570 11239 13196 15368 "
            "17869 21467 27367 39552 126195"
        ),
        _numbers("1 10 24 46 100 156 213 256 291 322 350 375 399 423 447 472 504 543 597 698 2000"),
    ),
    (
        15,
        _numbers(
            "1 747 1242 1564 1802 1986 2150 2308 2453 2596 2730 2861 2996 3127 3249 3370 3490 "
            "3597 3702 3813 4054"
        ),
        _numbers("5 60 78 92 104 115 125 135 145 156 167 179 192 206 222 242 268 304 372 737 4056"),
    ),
)
# Cached share of a prompt in thousandths at every twentieth quantile, Mooncake conversation.
CACHED_SHARE = _numbers(
    "0 17 27 37 52 68 89 111 145 246 362 460 537 567 573 712 835 909 948 975 1000"
)
# Input prices in pico-dollars a token: 50,000 is 0.05 USD a million.
INPUT_PRICES = _numbers(
    "50000 100000 150000 250000 400000 500000 800000 1000000 1250000 2000000 2500000 3000000 "
    "5000000 15000000"
)
PROVIDERS = ("openai", "anthropic", "gemini", "mistral")

_DRAWS = 16


@dataclass(frozen=True, slots=True)
class Logs:
    """A range of rows of the endless log.

    Attributes:
        first, rows: The range; copies of rows before it may be among them.
        rows_per_hour: How fast the log's clock runs.
        late_share, late_days: Thousandths of rows that start up to so many days earlier.
        copies: Thousandths of rows that are written twice; one in ten of these is restated.
        copies_from: First row that is written twice. Rows of a range that is late by other shares
            start elsewhere here, so a copy of one of them would be another call.
        price_from: The first of the days on which catalogs were observed.
        price_dates: How many days those are.
    """

    first: int
    rows: int
    rows_per_hour: int = 100_000
    late_share: int = 5
    late_days: float = 0.125
    copies: int = 20
    copies_from: int = 0
    price_from: datetime = ORIGIN
    price_dates: int = PRICE_DATES

    def begins_at(self) -> datetime:
        """When the first row of the range starts, unless it is late."""
        return ORIGIN + timedelta(hours=self.first / self.rows_per_hour)

    def ends_at(self) -> datetime:
        """Just after the last row starts."""
        return ORIGIN + timedelta(hours=(self.first + self.rows) / self.rows_per_hour, seconds=2)


# ---------------------------------------------------------------- rows as SQL


def calls_sql(logs: Logs) -> str:
    """One row per logged line, in file order, with typed columns and its cost in pico-dollars."""
    return f"""
    with numbered as (
        select i, 0 as copy, i as place from range({logs.first}, {logs.first + logs.rows}) as r(i)
        union all
        select i, 1, i + {COPY_LAG}
        from range(greatest({logs.first - COPY_LAG}, {logs.copies_from}),
            greatest({logs.first + logs.rows - COPY_LAG}, 0)) as r(i)
        where (i * 2654435761 & 4294967295) * 1000 >> 32 < {logs.copies}
        order by place, copy
    ),
    mixed_0 as (select i, copy, place, {_mixed(0)} from numbered),
    mixed_1 as (select i, copy, place, {_mixed(1)} from mixed_0),
    mixed as (select i, copy, place, {_mixed(2)} from mixed_1),
    chosen as (
        select *,
            ((d0::ubigint * d0::ubigint) >> 32)::bigint * {KEYS} >> 32 as key,
            d1 * 100 >> 32 as slot_percent,
            cast(({_epoch_ms(ORIGIN)} + i * 3600000 // {logs.rows_per_hour} + (d2 * 1000 >> 32)
                - case when d3 * 1000 >> 32 < {logs.late_share}
                    then (d4 * {int(logs.late_days * 86400)} >> 32) * 1000 else 0 end) as bigint)
                as started_ms,
            copy = 1 and d5 * 10 >> 32 = 0 as is_restated
        from mixed
    ),
    modelled as (
        select *,
            ((key * 4 + case when slot_percent < 55 then 0 when slot_percent < 80 then 1
                when slot_percent < 95 then 2 else 3 end) * 2654435761 & 4294967295)
                * {MODELS} >> 32 as model,
            least(greatest((started_ms - {_epoch_ms(logs.price_from)}) // 86400000, 0),
                {logs.price_dates - 1}) as price_date
        from chosen
    ),
    sized as (
        select *,
            model % 4 as provider_number,
            model // 4 % 3 as model_class,
            {_traced("d6", "d7", 1)} as trace_prompt,
            {_traced("d6", "d8", 2)} as trace_completion,
            d9 * 1000 >> 32 < 15 as is_failure,
            d9 * 1000 >> 32 between 15 and 44 as is_cache_hit
        from modelled
    ),
    counted as (
        select *,
            case when is_failure then 0
                when model_class = 1 and d10 * 1000 >> 32 < 12 then {BAND + 1} + trace_prompt
                else least(trace_prompt, {BAND - 10_000}) end as prompt_tokens,
            case when is_failure then 0 else trace_completion end as completion_tokens,
            case when model_class <> 0 then 'standard'
                when d10 * 100 >> 32 < 12 then 'priority'
                when d10 * 100 >> 32 < 20 then 'flex' else 'standard' end as tier
        from sized
    ),
    cached as (
        select *,
            case when d11 * 100 >> 32 < 40
                then prompt_tokens * {_interpolated(CACHED_SHARE, "d12")} // 1000 else 0 end
                as cached_tokens,
            case when d13 * 100 >> 32 < 25 then completion_tokens * 6 // 10 else 0 end
                as reasoning_tokens
        from counted
    ),
    written as (
        select *,
            case when provider_number = 1 and model_class = 2 and d14 * 100 >> 32 < 40
                then (prompt_tokens - cached_tokens) * 3 // 10 else 0 end as write_tokens,
            d14 * 100 >> 32 < 10 as is_hour_write
        from cached
    ),
    priced as (
        select *,
            {input_price_sql("model", "price_date")} as input_price,
            {output_factor_sql("model")} as output_factor,
            case when prompt_tokens > {BAND} then 2 else 1 end as band_factor
        from written
    )
    select *,
        case when is_failure or is_cache_hit then 0 else
            (case tier when 'priority' then 4 when 'flex' then 1 else 2 end) * (
                (prompt_tokens - cached_tokens - write_tokens) * input_price * band_factor
                + cached_tokens * (input_price // 10) * band_factor
                + write_tokens * case when is_hour_write then input_price * 2
                    else input_price * 5 // 4 end
                + (completion_tokens - reasoning_tokens) * input_price * output_factor
                    * (band_factor + 1) // 2
                + reasoning_tokens * input_price * output_factor * (band_factor + 1) // 2
                    * case when model_class = 2 and model % 5 = 0 then 5 else 4 end // 4
            ) // 2
        end as cost_pico
    from priced
    """


def _mixed(round_number: int) -> str:
    """Sixteen well mixed 32-bit numbers d0..d15 of the row's number, in three rounds."""
    terms = []
    for n in range(_DRAWS):
        if round_number == 0:
            source = f"((i * 2654435761 + {n * 1_640_531_527 + 12_345}) & 4294967295)::ubigint"
        else:
            source = f"((xor(d{n}, d{n} >> 16) * 73244475) & 4294967295)"
        if round_number == 2:
            source = f"(xor({source}, {source} >> 16))::bigint"
        terms.append(f"{source} as d{n}")
    return ", ".join(terms)


def _epoch_ms(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1)).total_seconds() * 1000)  # noqa: DTZ001  # naive UTC


def _interpolated(quantiles: tuple[int, ...], draw: str) -> str:
    """The inverse of a distribution function, linear between its twentieths."""
    steps = len(quantiles) - 1
    low = f"{list(quantiles)}[1 + ({draw} * {steps} >> 32)]"
    high = f"{list(quantiles)}[2 + ({draw} * {steps} >> 32)]"
    return f"({low} + (({high} - {low}) * ({draw} * {steps} & 4294967295) >> 32))"


def _traced(choice: str, draw: str, place: int) -> str:
    cases, reached = [], 0
    for trace in TRACES:
        reached += trace[0]
        drawn = _interpolated(trace[place], draw)
        cases.append(f"when {choice} * 100 >> 32 < {reached} then {drawn}")
    return f"case {' '.join(cases)} end"


def input_price_sql(model: str, date: str) -> str:
    """Pico-dollars per input token of a model on a price date; it changes on every date."""
    return (
        f"({list(INPUT_PRICES)}[1 + {model} % {len(INPUT_PRICES)}]"
        f" + 1000 * (({model} + {date} * 7) % 50))"
    )


def output_factor_sql(model: str) -> str:
    """How many times dearer than input the output of a model is."""
    return f"(4 + {model} % 3)"


# ---------------------------------------------------------------- lines, Parquet, raw

_API_KEY = "md5('key' || key) || md5('k' || key)"
_COST = "cast(cost_pico as double) / 1e12"
_TIER = "case when tier <> 'standard' then tier end"
_TEXTS = f"""
    'chatcmpl-' || substring(md5('call' || i), 1, 24) as request_id,
    {_API_KEY} as api_key,
    started_ms + 250 + completion_tokens * 9 as ended_ms,
    250 + completion_tokens * 9 as duration_ms,
    'bench-model-' || lpad(model::varchar, 4, '0') as model_name,
    ['{"', '".join(PROVIDERS)}'][1 + provider_number] as provider,
    'team-' || lpad((key % {TEAMS})::varchar, 3, '0') as team_id,
    'Team ' || (key % {TEAMS}) as team_name,
    'org-' || (key % 12) as organization_id,
    'user-' || (key * 4 + i % 4) as user_id,
    'cust-' || (d15 * 5000 >> 32) as customer_id,
    'sess-' || substring(md5('session' || (i // 7)), 1, 12) as session_id,
    ['prod', 'prod', 'prod', 'staging', 'dev'][1 + key % 5] as environment,
    ['summarise', 'search', 'chat', 'extract'][1 + key % 4] as workflow,
    case when is_failure then 'failure' else 'success' end as status
"""


def _iso(milliseconds: str) -> str:
    return f"strftime(make_timestamp(({milliseconds}) * 1000), '%Y-%m-%dT%H:%M:%S.%g')"


_METADATA = f"""{{
    'user_api_key_alias': 'key-' || key,
    'user_api_key_team_alias': team_name,
    'user_api_key_project_id': 'proj-' || (key % 300),
    'spend_logs_metadata': {{'ticket': 'T-' || (key % 900)}},
    'error_information': case when is_failure
        then {{'error_code': '529', 'error_class': 'OverloadedError'}} end,
    'usage_object': case when not is_failure then {{
        'prompt_tokens': prompt_tokens,
        'completion_tokens': completion_tokens,
        'prompt_tokens_details': {{
            'cached_tokens': cached_tokens,
            'cache_creation_tokens': write_tokens,
            'cache_creation_token_details': case when write_tokens > 0 then {{
                'ephemeral_5m_input_tokens': case when is_hour_write then 0 else write_tokens end,
                'ephemeral_1h_input_tokens': case when is_hour_write then write_tokens else 0 end
            }} end
        }},
        'completion_tokens_details': {{'reasoning_tokens': reasoning_tokens}}
    }} end,
    'cost_breakdown': {{'service_tier': {_TIER}}},
    'attempted_retries': 0
}}"""
_TAGS = "['env:' || environment, 'feature:' || workflow, 'User-Agent: bench/1.0']"


def lines_sql(logs: Logs) -> str:
    """The rows as `COPY ... (format json)` writes them: LiteLLM's column names, times as text."""
    return f"""
    select
        request_id, 'acompletion' as call_type, api_key, {_COST} as spend,
        prompt_tokens + completion_tokens as total_tokens, prompt_tokens, completion_tokens,
        {_iso("started_ms")} as "startTime", {_iso("ended_ms")} as "endTime",
        duration_ms as request_duration_ms, model_name as model, model_name as model_group,
        provider as custom_llm_provider, user_id as "user", {_METADATA} as metadata,
        case when is_cache_hit then 'True' else 'False' end as cache_hit,
        {_TAGS} as request_tags, team_id, organization_id, customer_id as end_user,
        session_id, status, {_iso("ended_ms + case when is_restated then 600000 else 0 end")}
        as updated_at
    from (select *, {_TEXTS} from ({calls_sql(logs)}))
    """


def parquet_sql(logs: Logs) -> str:
    """The rows as an export of the table holds them: typed, with JSON columns as text."""
    return f"""
    select * replace (
        cast("startTime" as timestamp) as "startTime",
        cast("endTime" as timestamp) as "endTime",
        cast(updated_at as timestamp) as updated_at,
        cast(to_json(metadata) as varchar) as metadata,
        cast(to_json(request_tags) as varchar) as request_tags
    )
    from ({lines_sql(logs)})
    """


def raw_sql(logs: Logs, *, first_line: int = 1) -> str:
    """The rows as the loader stages them, `_source_line` first; columns it leaves NULL left out."""
    usage = "case when not is_failure then"
    return f"""
    select
        row_number() over () + {first_line - 1} as _source_line,
        request_id, make_timestamp(started_ms * 1000) as started_at, api_key as api_key_id,
        make_timestamp(ended_ms * 1000) as ended_at,
        make_timestamp((ended_ms + case when is_restated then 600000 else 0 end) * 1000)
            as source_version_at,
        'acompletion' as call_type, model_name as model, model_name as model_group,
        provider as custom_llm_provider, status, team_id, organization_id, session_id, user_id,
        customer_id, is_cache_hit as cache_hit,
        duration_ms as request_duration_ms,
        cast(cost_pico as decimal(26, 0)) * 0.000000000001 as spend,
        prompt_tokens, completion_tokens, prompt_tokens + completion_tokens as total_tokens,
        'env:' || environment || ',feature:' || workflow as request_tags,
        'key-' || key as api_key_name, team_name, 'proj-' || (key % 300) as project_id,
        'T-' || (key % 900) as ticket, environment, workflow,
        case when is_failure then '529' end as error_code,
        case when is_failure then 'OverloadedError' end as error_class,
        0 as attempted_retries, false as is_billed_retry_attempt,
        false as is_silent_experiment, false as used_client_oauth_token,
        {_TIER} as billed_service_tier, not is_failure as has_usage,
        {usage} prompt_tokens end as usage_prompt_tokens,
        {usage} completion_tokens end as usage_completion_tokens,
        {usage} cached_tokens end as cached_tokens,
        {usage} write_tokens end as cache_write_tokens,
        case when write_tokens > 0 and is_hour_write then 0
            when write_tokens > 0 then write_tokens end as cache_write_5m_tokens,
        case when write_tokens > 0 and is_hour_write then write_tokens
            when write_tokens > 0 then 0 end as cache_write_1h_tokens,
        {usage} reasoning_tokens end as reasoning_tokens
    from (select *, {_TEXTS} from ({calls_sql(logs)}))
    """


# ---------------------------------------------------------------- files


def connect() -> duckdb.DuckDBPyConnection:
    """A connection whose results keep the order of the rows."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set threads = 2")
    connection.execute("set preserve_insertion_order = true")
    return connection


def write_logs(path: Path, logs: Logs) -> None:
    """Write the rows as .jsonl, .jsonl.zst or .parquet, by the ending of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    if path.suffix == ".parquet":
        query, options = parquet_sql(logs), "format parquet, compression zstd"
    else:
        compression = "zstd" if path.suffix == ".zst" else "uncompressed"
        query, options = lines_sql(logs), f"format json, compression {compression}"
    with connect() as connection:
        connection.execute(f"copy ({query}) to '{part}' ({options})")
    part.replace(path)


def write_genuine(path: Path, source: Path, size: int) -> None:
    """Repeat genuine rows (.jsonl.zst) up to `size` bytes, each time under new ids and dates."""
    with zstandard.open(source, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    dates = re.compile(rb"2026-11-0([1-9])")
    part = path.with_name(f".{path.name}.part")
    written = 0
    with part.open("wb") as target:
        for repeat in range(10**6):
            for line in lines:
                # A week further each time, from January 2026 on, so that no two rows are alike.
                moved = dates.sub(lambda match, r=repeat: _later(int(match[1]), r), line)
                moved = moved.replace(b'"request_id": "', b'"request_id": "r%d-' % repeat, 1)
                written += target.write(moved)
                if written >= size:
                    part.replace(path)
                    return


def _later(day: int, weeks: int) -> bytes:
    moved = datetime(2026, 1, day) + timedelta(weeks=weeks)  # noqa: DTZ001  # naive UTC
    return f"{moved:%Y-%m-%d}".encode()


def expected(logs: list[Logs]) -> dict[str, Any]:
    """What any number of ranges add up to once copies are known as such.

    records: attempts; lines: rows of the files; spend: text of the exact sum, which is also the
    list cost of all records; tokens: sum of prompt and completion.
    """
    ranges = " union all ".join(
        f"select i, copy, cost_pico, prompt_tokens + completion_tokens as tokens from ({sql})"
        for sql in (calls_sql(part) for part in logs)
    )
    with connect() as connection:
        lines, records, spend, tokens = connection.execute(f"""
            with lines as ({ranges}),
            records as (
                select i, any_value(cost_pico) as cost_pico, any_value(tokens) as tokens
                from lines group by i
            )
            select (select count(*) from lines), count(*),
                cast(cast(sum(cost_pico) as decimal(26, 0)) * 0.000000000001 as varchar),
                cast(sum(tokens) as bigint)
            from records
            """).fetchall()[0]
    return {"lines": lines, "records": records, "spend": spend, "tokens": tokens}


def price_entry(model: int, input_price: int, output_factor: int) -> dict[str, Any]:
    """One model of a catalog as LiteLLM's cost map writes it.

    A third of the models have service tiers, a third a context band, a third cache writes.
    """
    provider, model_class = PROVIDERS[model % 4], model // 4 % 3
    output_price = input_price * output_factor
    prices = {
        "input_cost_per_token": input_price,
        "output_cost_per_token": output_price,
        "cache_read_input_token_cost": input_price // 10,
    }
    entry = dict(prices)
    if model_class == 0:
        entry |= {f"{name}_priority": price * 2 for name, price in prices.items()}
        entry |= {f"{name}_flex": price // 2 for name, price in prices.items()}
    elif model_class == 1:
        entry |= {
            f"input_cost_per_token_above_{BAND // 1000}k_tokens": input_price * 2,
            f"output_cost_per_token_above_{BAND // 1000}k_tokens": output_price * 3 // 2,
            f"cache_read_input_token_cost_above_{BAND // 1000}k_tokens": input_price // 10 * 2,
        }
    else:
        entry |= {
            "cache_creation_input_token_cost": input_price * 5 // 4,
            "cache_creation_input_token_cost_above_1hr": input_price * 2,
        }
        if model % 5 == 0:
            entry["output_cost_per_reasoning_token"] = output_price * 5 // 4
    return {
        **{name: price / PICO for name, price in entry.items()},
        "litellm_provider": provider,
        "max_input_tokens": 1_000_000,
        "max_output_tokens": 64_000,
        "mode": "chat",
        "supports_prompt_caching": True,
    }


def write_catalogs(folder: Path, *, first: datetime = ORIGIN, dates: int = PRICE_DATES) -> None:
    """One cost map per day on which prices were observed, each at midnight UTC."""
    folder.mkdir(parents=True, exist_ok=True)
    with connect() as connection:
        for date in range(dates):
            rows = connection.execute(
                f"select m, {input_price_sql('m', str(date))}, {output_factor_sql('m')} "
                f"from range({MODELS}) as r(m) order by m"
            ).fetchall()
            catalog = {f"bench-model-{m:04d}": price_entry(m, price, f) for m, price, f in rows}
            observed = first + timedelta(days=date)
            name = f"litellm_prices.observed-{observed:%Y%m%dT%H%M%SZ}.json"
            (folder / name).write_text(json.dumps(catalog), encoding="utf-8")


def main() -> None:
    """Write a log file or a folder of catalogs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("logs", "catalogs"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rows-per-hour", type=int, default=100_000)
    parser.add_argument("--late-share", type=int, default=5, help="thousandths")
    parser.add_argument("--late-days", type=float, default=0.125)
    parser.add_argument("--dates", type=int, default=PRICE_DATES)
    arguments = parser.parse_args()
    if arguments.what == "catalogs":
        write_catalogs(arguments.path, dates=arguments.dates)
        return
    logs = Logs(
        first=arguments.first,
        rows=arguments.rows,
        rows_per_hour=arguments.rows_per_hour,
        late_share=arguments.late_share,
        late_days=arguments.late_days,
    )
    write_logs(arguments.path, logs)


if __name__ == "__main__":
    main()
