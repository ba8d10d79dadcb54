"""People's reference data: what a seed file may hold, and how what is wrong with it is said."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest
import yaml

from orchestration.config import ConfigurationError
from orchestration.landing.seed_files import (
    PROVIDERS,
    CheckedSeed,
    read_seed_file,
    read_seeds,
)
from orchestration.landing.seed_tables import SEEDS, SEEDS_BY_NAME

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "a" * 64
OWNERS = "api_key_id,gateway,team_id,cost_center,valid_from_date,valid_to_date\n"


def read(folder: Path, name: str, text: str) -> CheckedSeed:
    path = folder / f"{name}.csv"
    path.write_text(text, encoding="utf-8")
    return read_seed_file(path, SEEDS_BY_NAME[name])


def said(seed: CheckedSeed) -> list[str]:
    return [str(problem).partition(".csv:")[2] for problem in seed.problems]


def test_a_missing_file_is_an_empty_table_with_every_column(tmp_path: Path) -> None:
    seeds = read_seeds(tmp_path, fallback=tmp_path)

    assert seeds.keys() == SEEDS_BY_NAME.keys()
    assert seeds["teams"].to_csv() == (
        "team_id,team_name,organization_id,cost_center,budget_owner,active\n"
    )


def test_ours_stands_in_for_what_we_ship_alone(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    units = "unit,name,family,direction\n"
    (ours / "unit_types.csv").write_text(f"{units}requests,Requests,request,none\n")
    (ours / "teams.csv").write_text("team_id,team_name\nt,T\n")

    seeds = read_seeds(theirs, fallback=ours)

    assert len(seeds["unit_types"].rows) == 1
    assert seeds["teams"].rows == []

    (theirs / "unit_types.csv").write_text(units)

    assert read_seeds(theirs, fallback=ours)["unit_types"].rows == []


def test_values_are_written_as_they_were_meant(tmp_path: Path) -> None:
    seed = read(
        tmp_path,
        "wallets",
        "wallet_id,currency,opening_balance,opening_at,low_balance_threshold\n"
        "w,usd,-0.000000000000000001,2026-01-01T02:00:00+02:00,1e2\n",
    )

    assert seed.to_csv().splitlines()[1] == (
        "w,USD,1,-0.000000000000000001,2026-01-01 00:00:00,100,,none,60,"
    )


def test_comments_and_blank_lines_are_not_read_and_lines_still_count(tmp_path: Path) -> None:
    seed = read(tmp_path, "teams", '# ours\nteam_id,team_name\n\n# "t,\nt,T\nu\n')

    assert [values["team_id"] for _, values in seed.rows] == ["t"]
    assert said(seed) == [
        "6: row: column_count: 1 values under 2 columns; quote a value that holds a comma"
    ]


def test_a_value_over_two_lines_keeps_the_count(tmp_path: Path) -> None:
    seed = read(tmp_path, "teams", 'team_id,team_name,active\nt,"T\nwo",true\nu,U,perhaps\n')

    assert said(seed) == ["4: active: bad_value: write true or false, found 'perhaps'"]


def test_an_unknown_column_is_said_and_not_read(tmp_path: Path) -> None:
    seed = read(tmp_path, "teams", "team_id,team_name,colour\nt,T,red\n")

    assert said(seed) == [
        "1: colour: schema_drift: unknown column, not read; remove it or correct its spelling"
    ]
    assert not seed.problems[0].is_refused
    assert len(seed.rows) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("team_name\nT\n", "teams.csv:1: team_id: missing_columns: required; add the column"),
        ("", "teams.csv:1: team_id, team_name: missing_columns: required; add the column"),
        (
            "team_id,team_name,team_id\n",
            "teams.csv:1: team_id: duplicate_header: keep one column of the name",
        ),
        ('team_id,team_name\nt,"T\n', "teams.csv:2: not CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_wrong_configuration(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, "teams", text)

    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f"{KEY},,t,c,,", "2: valid_from_date: missing_field: required and empty; write a value"),
        (f"{KEY},,t,c,01/02/2026,", "2: valid_from_date: bad_timestamp: write a day like"),
        (f"{KEY},,t,c,2026-02-30,", "2: valid_from_date: bad_timestamp: no such time"),
        (f"{KEY},,t,c,2026-02-01,2026-02-01", "2: valid_to_date: bad_period: ends 2026-02-01"),
    ],
)
def test_a_bad_row_is_left_out_and_the_rest_goes_on(tmp_path: Path, row: str, problem: str) -> None:
    seed = read(tmp_path, "key_owners", f"{OWNERS}{row}\n{'b' * 64},,t,c,2026-01-01,\n")

    assert len(seed.rows) == 1
    assert [line.startswith(problem) for line in said(seed)] == [True], said(seed)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("accounts", "account_id,name,currency,time_zone\na,A,EURO,UTC\n", "2: currency: unsu"),
        ("accounts", "account_id,name,currency,time_zone\na,A,EUR,Mars/X\n", "2: time_zone: bad_v"),
        (
            "fx_rates",
            "rate_date,base_currency,quote_currency,rate\n2026-01-01,USD,EUR,0.9999999999999\n",
            "2: rate: bad_number: more than 12 decimal places",
        ),
        (
            "shared_cost_rules",
            "rule_id,cost_kind,method,target_id,share,valid_from_date\n"
            "r,untagged,fixed,a,0.5,2026-01-01\nr,untagged,fixed,b,0.4,2026-01-01\n",
            "2: share: bad_value: the fixed shares of rule r sum to 0.9; make them sum to 1",
        ),
        (
            "teams",
            "team_id,team_name\nt,T\nu,U\nt,T2\n",
            "2: team_id: overlapping_rows: lines 2 and 4",
        ),
    ],
)
def test_each_table_has_rules_of_its_own(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    seed = read(tmp_path, name, text)

    assert said(seed)[0].startswith(problem), said(seed)


def test_rows_of_one_key_that_hold_at_once_are_both_left_out(tmp_path: Path) -> None:
    seed = read(
        tmp_path,
        "key_owners",
        f"{OWNERS}{KEY},,a,c,2026-01-01,2026-03-01\n{KEY},,b,c,2026-02-28,\n"
        f"{KEY},litellm,c,c,2026-01-01,\n",
    )

    assert [values["team_id"] for _, values in seed.rows] == ["c"]
    assert said(seed) == [
        f"{line}: valid_from_date: overlapping_rows: lines 2 and 3 hold at once for "
        f"api_key_id {'a' * 60}...; end one when the other begins"
        for line in (2, 3)
    ]
    assert {problem.subject for problem in seed.problems} == {KEY}


def test_rules_that_nothing_chooses_between_are_both_left_out(tmp_path: Path) -> None:
    seed = read(
        tmp_path,
        "markup_rules",
        "rule_id,account_id,provider,markup_rate,valid_from_date,valid_to_date,priority\n"
        "first,a,openai,0.10,2026-01-01,,\n"
        "second,a,openai,0.20,2026-01-01,2026-02-01,\n"
        "preferred,a,openai,0.30,2026-01-01,,1\n"
        "later,a,openai,0.40,2026-01-15,,\n"
        "other,a,anthropic,0.50,2026-01-01,,\n",
    )

    assert [values["rule_id"] for _, values in seed.rows] == ["preferred", "later", "other"]
    assert [(problem.line, problem.code) for problem in seed.problems] == [
        (2, "overlapping_rows"),
        (3, "overlapping_rows"),
    ]
    assert said(seed)[0].endswith("or give one a lower priority")


def test_rows_that_follow_each_other_do_not_overlap(tmp_path: Path) -> None:
    seed = read(
        tmp_path,
        "key_owners",
        f"{OWNERS}{KEY},,b,c,2026-03-01,\n{KEY},,a,c,2026-01-01,2026-03-01\n",
    )

    assert (len(seed.rows), seed.problems) == (2, [])


def test_a_raw_key_is_hashed_at_the_door(tmp_path: Path) -> None:
    raw = "sk-CANARYrawkey00000"
    digest = hashlib.sha256(raw.encode()).hexdigest()

    owners = read(
        tmp_path, "key_owners", f"{OWNERS}{raw},,t,c,2026-13-01,\n{raw},,t,c,2026-01-01,\n"
    )
    scopes = read(
        tmp_path,
        "account_scopes",
        "account_id,gateway,scope_type,scope_id,billing_mode,billed_basis,valid_from_date\n"
        f"a,g,key,{raw},managed,rule,2026-01-01\n",
    )

    assert owners.rows[0][1]["api_key_id"] == scopes.rows[0][1]["scope_id"] == digest
    assert raw not in owners.to_csv() + scopes.to_csv() + str(owners.problems)


def test_a_provider_has_one_name_however_gateways_call_it(tmp_path: Path) -> None:
    names = ("gemini", "vertex_ai", "Bedrock", "azure_ai", "openai", "mistral")
    rows = "".join(f"p-{name},{name},m-{name},USD,UTC,2026-01-01\n" for name in names)

    seed = read(
        tmp_path,
        "provider_accounts",
        f"provider_account_id,provider,model_id,currency,time_zone,valid_from_date\n{rows}",
    )

    found = [values["provider"] for _, values in seed.rows]
    assert found == ["google", "google", "aws", "azure", "openai", "mistral"]


def test_seeds_and_models_know_a_provider_by_the_same_words() -> None:
    macros = (REPOSITORY / "dbt_project" / "macros" / "gateway_words.sql").read_text()
    body = macros.partition("macro provider_beginnings()")[2].partition("return(")[2]
    listed = ast.literal_eval(body.partition(") }}")[0].strip())

    assert [(name, tuple(words)) for name, words in listed] == list(PROVIDERS)


def test_a_scope_of_an_account_nobody_described_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text("account_id,name,currency,time_zone\na,A,USD,UTC\n")
    (tmp_path / "account_scopes.csv").write_text(
        "account_id,gateway,scope_type,billing_mode,billed_basis,valid_from_date\n"
        "a,g,gateway,managed,rule,2026-01-01\nb,h,gateway,managed,rule,2026-01-01\n"
    )

    scopes = read_seeds(tmp_path, fallback=tmp_path)["account_scopes"]

    assert [values["account_id"] for _, values in scopes.rows] == ["a"]
    assert said(scopes) == [
        "3: account_id: unknown_reference: 'b' is not in accounts.csv; correct it there or here"
    ]


def test_the_samples_of_init_are_sound(tmp_path: Path) -> None:
    templates = REPOSITORY / "orchestration" / "templates" / "seeds"
    for path in templates.glob("*.csv"):
        lines = path.read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        rows = [line.removeprefix("# ") for line in lines[start:]]
        (tmp_path / path.name).write_text("\n".join(rows) + "\n")

    commented = read_seeds(templates, fallback=templates)
    taken = read_seeds(tmp_path, fallback=tmp_path)

    shipped = {table.name for table in SEEDS if table.is_shipped}
    assert {path.stem for path in templates.iterdir()} == SEEDS_BY_NAME.keys() - shipped
    assert not any(seed.rows or seed.problems for seed in commented.values())
    assert [str(problem) for seed in taken.values() for problem in seed.problems] == []
    assert {name for name, seed in taken.items() if not seed.rows} == shipped


def test_our_own_seeds_are_sound() -> None:
    seeds = read_seeds(REPOSITORY / "seeds", fallback=REPOSITORY / "seeds")

    assert [str(problem) for seed in seeds.values() for problem in seed.problems] == []


def test_dbt_types_the_columns_as_the_reader_does() -> None:
    described = yaml.safe_load((REPOSITORY / "models" / "_reference__seeds.yml").read_text())

    types = {seed["name"]: seed["config"]["column_types"] for seed in described["seeds"]}

    expected = {
        table.name: {column.name: column.sql_type for column in table.columns} for table in SEEDS
    }
    assert types == expected
