"""`tollbook forget`: the person is nowhere, every amount stays, and nobody brings them back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard
from integration.homes import Home, differing, example_rows, hash_marts, query

from orchestration.cli import DONE, invoke
from orchestration.landing.forgotten import (
    Forgotten,
    note_forgotten,
    read_forgotten,
    rewrite_pages,
    without_people,
)
from orchestration.warehouse import privacy
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.forget import forget_person
from orchestration.warehouse.schema import create_schema

PERSON = "nadia.quist@example.org"
OTHER = "omar.linde@example.org"


def usage(number: int, person: str, **changes: Any) -> dict[str, Any]:
    row = next(row for row in example_rows() if row["call_type"] == "acompletion")
    times = {"startTime": "2026-10-20T10:00:00Z", "endTime": "2026-10-20T10:00:05Z"}
    return (
        row
        | times
        | {"request_id": f"chatcmpl-forget-{number}", "user": person, "end_user": None}
        | changes
    )


def customer(customer_id: str) -> dict[str, Any]:
    return {
        "user_id": customer_id,
        "alias": "Nadia of the second floor",
        "blocked": False,
        "litellm_table": "LiteLLM_EndUserTable",
        "observed_at": "2026-10-01T00:00:00Z",
    }


@pytest.fixture(scope="module")
def naming_home(example_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example, with a person in usage, in a refused row and in an owner table."""
    home = example_home.copy(tmp_path_factory.mktemp("naming") / "home")
    home.drop_rows("people.jsonl", people())
    home.drop("litellm_prod/owners/customers.json", json.dumps([customer(PERSON)]))
    outcome = home.run()
    assert outcome.status == "published", outcome.problems
    return home


@pytest.fixture(scope="module")
def forgetting(naming_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same home after the person was forgotten."""
    home = naming_home.copy(tmp_path_factory.mktemp("forgetting") / "home")
    assert tollbook(home, "forget", "--user", PERSON) == DONE
    return home


@pytest.fixture
def home(naming_home: Home, tmp_path: Path) -> Home:
    return naming_home.copy(tmp_path / "home")


def people() -> list[dict[str, Any]]:
    return [
        usage(1, PERSON),
        usage(2, OTHER, end_user=PERSON),
        usage(3, OTHER),
        usage(4, PERSON, spend="NaN"),
    ]


def tollbook(home: Home, *arguments: str) -> int:
    options = ["--config", str(home.path / "tollbook.yml"), "--home", str(home.path)]
    return invoke([*arguments, *options, "--as-of", home.as_of])


def holders(home: Home, text: str) -> list[str]:
    """Files below the home that hold a text, also where it stands compressed in a column."""
    found = []
    for path in sorted(home.path.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        if path.suffix == ".zst":
            content = zstandard.ZstdDecompressor().decompress(content)
        if text.encode() in content:
            found.append(path.relative_to(home.path).as_posix())
    return found


def named_in(database: Path, text: str) -> list[str]:
    """Columns of the tables of a database in which a text stands; views hold nothing."""
    found = []
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = connection.execute("""
            select schema_name, table_name, list(column_name)
            from duckdb_columns()
            where
                database_name = current_database()
                and data_type = 'VARCHAR'
                and table_oid in (select table_oid from duckdb_tables())
            group by all
            order by all
            """).fetchall()
        for schema, table, names in tables:
            held = ", ".join(f'bool_or(contains("{name}", $text))' for name in names)
            where = f'"{schema}"."{table}"'
            row = connection.execute(f"select {held} from {where}", {"text": text}).fetchone() or ()
            found += [
                f"{schema}.{table}.{name}"
                for name, is_held in zip(names, row, strict=True)
                if is_held
            ]
    return found


def money(home: Home) -> list[tuple[Any, ...]]:
    return query(
        home.published,
        "select usage_date, sum(requests), sum(gateway_cost), sum(list_cost) "
        "from marts.daily_spend group by all order by all",
    )


def test_a_forgotten_person_is_nowhere_and_every_amount_stays(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    before = money(home)
    # The scan sees the person first, or it would prove nothing.
    assert "raw.litellm__spend_logs.user_id" in named_in(home.path / "warehouse.duckdb", PERSON)
    assert "marts.usage_records.user_id" in named_in(home.published, PERSON)
    assert "warehouse.duckdb" in holders(home, PERSON)

    code = tollbook(home, "forget", "--user", PERSON)

    assert code == DONE
    out, _ = capsys.readouterr()
    assert "Forgotten in 4 loaded rows, 1 refused rows and 2 landed files." in out
    assert PERSON not in out
    assert holders(home, PERSON) == []
    for database in (home.path / "warehouse.duckdb", home.published):
        assert named_in(database, PERSON) == []
        assert named_in(database, "second floor") == []
    assert money(home) == before
    assert query(
        home.published,
        "select request_id, user_id, customer_id from marts.usage_records "
        "where request_id like 'chatcmpl-forget-%' order by all",
    ) == [
        ("chatcmpl-forget-1", "forgotten", None),
        ("chatcmpl-forget-2", OTHER, "forgotten"),
        ("chatcmpl-forget-3", OTHER, None),
    ]
    # One version is left: those before it named the person.
    assert len(list((home.path / "published" / "versions").glob("*.duckdb"))) == 1


def test_the_rewritten_warehouse_still_says_what_everything_is(
    naming_home: Home, forgetting: Home
) -> None:
    sql = (
        "select schema_name, table_name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = current_database() and not internal "
        "and table_name <> 'forgotten_persons' order by all"
    )
    before = naming_home.query(sql)

    assert any(comment for *_, comment in before)
    assert forgetting.query(sql) == before


@pytest.mark.long
def test_what_a_source_sends_again_does_not_bring_the_person_back(
    forgetting: Home, tmp_path: Path
) -> None:
    home = forgetting.copy(tmp_path / "home")
    rows = home.query("select count(*) from raw.litellm__spend_logs")
    marts = home.marts()

    home.drop_rows("again.jsonl", [*people(), usage(5, PERSON)])
    home.drop("litellm_prod/owners/again.json", json.dumps([customer(PERSON)]))
    outcome = home.run()

    assert outcome.status == "published", outcome.problems
    assert home.query("select count(*) from raw.litellm__spend_logs") == [(rows[0][0] + 1,)]
    assert holders(home, PERSON) == []
    for database in (home.path / "warehouse.duckdb", home.published):
        assert named_in(database, PERSON) == []
    # The rows known before are known still: only the new one changed the marts.
    assert "usage_records" in differing(home.marts(), marts)
    ((again,),) = home.query(
        "select rows_already_known from audit.load_batches where file_name like '%again.jsonl'"
    )
    assert again == 3


@pytest.mark.long
def test_landing_alone_rebuilds_the_same_marts_without_the_person(
    forgetting: Home, tmp_path: Path
) -> None:
    rebuilt = Home.create(tmp_path / "rebuilt")
    landing = forgetting.path / "landing"
    for source in landing.rglob("*"):
        if source.is_file():
            rebuilt.drop(source.relative_to(landing).as_posix(), source.read_bytes())
    assert rebuilt.run().status == "published"

    assert differing(hash_marts(rebuilt.path / "warehouse.duckdb"), forgetting.marts()) == []
    assert named_in(rebuilt.path / "warehouse.duckdb", PERSON) == []


@pytest.mark.long
def test_a_kill_before_the_publish_is_finished_by_the_next_run(home: Home) -> None:
    with open_warehouse(home.runtime) as connection:
        forget_person(connection, home.runtime, PERSON, progress=lambda _line: None)
    assert "marts.usage_records.user_id" in named_in(home.published, PERSON)

    assert home.run().status == "published"

    assert holders(home, PERSON) == []
    assert named_in(home.published, PERSON) == []


@pytest.mark.long
def test_a_person_nobody_knows_changes_nothing_but_is_noted(home: Home) -> None:
    before = home.marts()

    with open_warehouse(home.runtime) as connection:
        create_schema(connection)
        report = forget_person(
            connection, home.runtime, "nobody@example.org", progress=lambda _line: None
        )

    assert (report.rows, report.refused_rows) == (0, 0)
    assert differing(home.marts(), before) == []
    assert len(read_forgotten(home.path / "landing").hashes) == 1


def test_the_id_is_asked_for(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert tollbook(home, "forget", "--user", " ") == 2
    assert "--user: expected the id of a person" in capsys.readouterr().err


def test_the_note_holds_salted_hashes_only(tmp_path: Path) -> None:
    note_forgotten(tmp_path, PERSON)
    known = note_forgotten(tmp_path, OTHER)

    assert read_forgotten(tmp_path) == known
    assert len(known.hashes) == 2
    assert known.salt
    assert PERSON not in (tmp_path / ".forgotten.json").read_text()
    assert note_forgotten(tmp_path / "other", PERSON).hashes.isdisjoint(known.hashes)


def test_refused_fields_keep_their_digits() -> None:
    known = Forgotten("s")
    known = Forgotten("s", frozenset({known.hash_of(PERSON)}))
    fields = f'{{"metadata":{{"tags":["{PERSON}"]}},"spend":0.10000000000000000001,"user":"x"}}'

    cleaned = privacy.clean_fields(fields, known)

    assert cleaned == fields.replace(PERSON, "forgotten")
    assert privacy.clean_fields(fields, Forgotten()) is fields


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_pages_that_lie_as_a_source_gave_them_lose_the_name_and_nothing_else(
    ending: str, tmp_path: Path
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[ending]
    unpack = {
        "": bytes,
        ".gz": gzip.decompress,
        ".zst": zstandard.ZstdDecompressor().decompress,
    }[ending]
    page = f'{{"data": [{{"user_id": "{PERSON}", "cost": 0.1000000000000000000001}}]}}'
    path = tmp_path / "openai" / "openai_usage" / f"completions__p0001.json{ending}"
    other = path.with_name(f"other__p0001.json{ending}")
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(page.encode()))
    other.write_bytes(pack(page.replace(PERSON, OTHER).encode()))

    assert rewrite_pages(tmp_path, PERSON) == 1

    assert unpack(path.read_bytes()).decode() == page.replace(PERSON, "forgotten")
    assert OTHER in unpack(other.read_bytes()).decode()
    assert rewrite_pages(tmp_path, PERSON) == 0


def test_a_page_that_is_asked_again_lands_without_the_name(tmp_path: Path) -> None:
    known = note_forgotten(tmp_path, PERSON)
    page = f'{{"user_id":"{PERSON}","cost":0.1000000000000000000001}}'.encode()

    assert without_people(page, known) == page.replace(PERSON.encode(), b"forgotten")
    assert without_people(page.replace(b"nadia", b"nadja"), known).count(b"nadja") == 1
