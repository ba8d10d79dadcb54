"""`python bench/accuracy/run.py [--seeds N]`: plant faults, run the pipeline, hold what it says
against the truth.

Grain of the result: one row per fault of faults.yml, one per look-alike check, one per cause.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))

from accuracy import wallets  # noqa: E402
from accuracy.faults import LOOKALIKES, PLANTS  # noqa: E402
from accuracy.files import exact_amounts, invoice_lines, invoice_number, write_home  # noqa: E402
from accuracy.world import Finding, World  # noqa: E402

AS_OF = "2026-11-12T00:00:00Z"
HERE = Path(__file__).resolve().parent
WORLDS_OF_A_HOME = 20
CALLS_OF_A_WORLD = 120
LOOKALIKES_TO_A_FAULT = 10


@dataclass(slots=True)
class Score:
    """How one type of fault was found.

    Attributes:
        planted: How often it was planted.
        found: How many of these were found, under the right name.
        exact: How many of the found had the very amount.
        false: How often its name was called without a cause.
    """

    planted: int = 0
    found: int = 0
    exact: int = 0
    false: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Share of the planted that was found."""
        return self.found / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of what was called so that is so."""
        called = self.found + self.false
        return self.found / called if called else 1.0


def make_world(seed: int, faults: Sequence[str], plants: int) -> World:
    """A month with faults; none at all make it a clean one."""
    world = World.create(seed)
    for _ in range(CALLS_OF_A_WORLD):
        world.happen(world.call())
    prepaid = world.prepaid = wallets.Prepaid(world)
    for _ in range(CALLS_OF_A_WORLD):
        prepaid.use(world.call(key=wallets.router_key(world)))
    for code in faults:
        for _ in range(plants):
            if code in PLANTS:
                PLANTS[code](world, code)
            else:
                wallets.PLANTS[code](prepaid, code)
    for _ in range(LOOKALIKES_TO_A_FAULT * plants):
        for plant in LOOKALIKES.values():
            plant(world)
        for alike in wallets.LOOKALIKES.values():
            alike(prepaid)
        world.lookalikes += len(LOOKALIKES) + len(wallets.LOOKALIKES)
    world.rng.shuffle(world.rows)
    return world


def run_home(home: Path, worlds: Sequence[World]) -> None:
    """Run the pipeline once on the files of some companies."""
    from orchestration.config import read_runtime
    from orchestration.defs.steps import RunLog, Steps

    os.environ.setdefault("BENCH_KEY", "unused")
    write_home(home, worlds)
    for path in (home / "landing").rglob("*"):
        if path.is_file():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    runtime = read_runtime(config=home / "tollbook.yml", home=home, as_of=AS_OF)
    steps = Steps(runtime=runtime, run="bench", log=RunLog(), progress=lambda _line: None)
    report = steps.load()
    refused = [batch for batch in report.batches if batch.status != "loaded"]
    if refused or report.total("rows_quarantined"):
        raise SystemExit(f"not everything was loaded: {refused[:2]}")
    steps.build()


def found_in(home: Path) -> list[dict[str, Any]]:
    """Every exception, with the account it stands on."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select exception_type, severity, account_id, billing_month, subject_id, "
            "amount_at_stake, evidence from marts.exceptions order by all"
        )
        names = [column[0] for column in rows.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def expected_of(world: World) -> list[Finding]:
    """What is to be found in a world: planted faults of one subject together are one exception."""
    together: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for each in [*world.findings, *_of_invoice(world), *_of_days(world)]:
        together[each.exception_type, each.subject].append(each)
    return [_one(group) for group in together.values()]


def _one(group: list[Finding]) -> Finding:
    known = [each.amount for each in group if each.amount is not None]
    first = group[0]
    amount = sum(known, Decimal(0)) if known else None
    return Finding(first.fault, first.exception_type, first.subject, amount)


def _of_invoice(world: World) -> Iterator[Finding]:
    """Causes beyond the invoice's tolerance are exceptions of their own."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for each in world.causes:
        sums[each.line, each.name] += each.amount
    numbers = {row["description"]: row["line_no"] for row in invoice_lines(world)}
    for (line, cause), amount in sums.items():
        if abs(amount) > Decimal("0.01"):
            subject = f"{invoice_number(world)}/{numbers[line]}/{cause}"
            yield Finding(f"invoice:{cause}", "invoice_variance", subject, abs(amount))


def _of_days(world: World) -> Iterator[Finding]:
    """Days of which the gateway saw too little of what the provider charged."""
    charged: dict[str, Decimal] = defaultdict(Decimal)
    seen: dict[str, Decimal] = defaultdict(Decimal)
    for call, _ in world.billed:
        charged[f"{call.ended_at:%Y-%m-%d}"] += call.cost
    for call in world.recorded:
        seen[f"{call.ended_at:%Y-%m-%d}"] += call.cost
    for day, amount in charged.items():
        if seen[day] < Decimal("0.95") * amount:
            subject = f"{world.provider_account}/{day}"
            yield Finding("day:capture", "capture_rate_low", subject, amount - seen[day])


def judge(worlds: Iterable[World], found: list[dict[str, Any]]) -> dict[str, Score]:
    """Scores by exception type."""
    scores: dict[str, Score] = defaultdict(Score)
    left = list(found)
    for world in worlds:
        for finding in expected_of(world):
            score = scores[finding.exception_type]
            score.planted += 1
            match = next((row for row in left if _fits(row, finding, world)), None)
            if match is None:
                score.examples.append(f"missed {finding}")
                continue
            left.remove(match)
            score.found += 1
            if match["amount_at_stake"] == finding.amount:
                score.exact += 1
            else:
                score.examples.append(f"amount {match['amount_at_stake']} of {finding}")
    for row in left:
        score = scores[row["exception_type"]]
        score.false += 1
        score.examples.append(f"false {row}")
    return dict(scores)


def _fits(row: dict[str, Any], finding: Finding, world: World) -> bool:
    return (
        row["exception_type"] == finding.exception_type
        and finding.subject in row["subject_id"]
        and (row["account_id"] == "unassigned" or row["account_id"].startswith(world.name))
    )


@dataclass(slots=True)
class Shares:
    """How the variance of invoice lines was explained.

    Attributes:
        lines: Lines compared.
        rightly: Sum of what was given to the cause that it has.
        parts: Sum of all parts, whatever their sign.
        unexplained: Lines of which something was left.
        not_adding: Lines whose parts are not their variance.
    """

    lines: int = 0
    rightly: Decimal = Decimal(0)
    parts: Decimal = Decimal(0)
    unexplained: int = 0
    not_adding: int = 0
    examples: list[str] = field(default_factory=list)


def judge_causes(worlds: Iterable[World], home: Path, shares: Shares) -> None:
    """Hold the causes of every invoice line against the planted ones."""
    truth: dict[tuple[str, int], dict[str, Decimal]] = {}
    for world in worlds:
        number = invoice_number(world)
        numbers = {}
        for row in invoice_lines(world):
            numbers[row["description"]] = row["line_no"]
            exact = exact_amounts(world)[row["description"]]
            truth[number, row["line_no"]] = {"rounding": row["amount"] - exact}
        for each in world.causes:
            causes = truth[number, numbers[each.line]]
            causes[each.name] = causes.get(each.name, Decimal(0)) + each.amount
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute("select * from marts.invoice_reconciliation order by all")
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        expected = truth[row["invoice_number"], row["line_no"]]
        causes = {
            name.removesuffix("_amount"): value or Decimal(0)
            for name, value in row.items()
            if name.endswith("_amount") and name != "variance_amount"
        }
        shares.lines += 1
        shares.not_adding += sum(causes.values(), Decimal(0)) != row["variance_amount"]
        shares.unexplained += causes["unexplained"] != 0
        for name, amount in causes.items():
            true = expected.get(name, Decimal(0))
            shares.parts += abs(amount)
            if amount * true > 0:
                shares.rightly += min(abs(amount), abs(true))
            if amount != true:
                text = f"{row['invoice_number']} {row['description']} {name}: {amount} of {true}"
                shares.examples.append(text)


def main() -> None:
    """Run the benchmark and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--plants", type=int, default=5, help="of each fault in a month")
    parser.add_argument("--keep", type=Path, help="where the homes are left")
    parser.add_argument("--examples", type=int, default=3)
    options = parser.parse_args()
    codes = [each["code"] for each in yaml.safe_load((HERE / "faults.yml").read_text())]
    totals: dict[str, Score] = defaultdict(Score)
    shares, alarms = Shares(), []
    lookalikes = 0
    seeds = list(range(options.first, options.first + options.seeds))
    for start in range(0, len(seeds), WORLDS_OF_A_HOME):
        chosen = seeds[start : start + WORLDS_OF_A_HOME]
        # Of ten months one is clean.
        worlds = [make_world(s, [] if s % 10 == 0 else codes, options.plants) for s in chosen]
        lookalikes += sum(world.lookalikes for world in worlds)
        home = (options.keep or Path(tempfile.mkdtemp())) / f"home-{start}"
        shutil.rmtree(home, ignore_errors=True)
        run_home(home, worlds)
        judge_causes(worlds, home, shares)
        found = found_in(home)
        clean = tuple(f"w{seed:04}" for seed in chosen if seed % 10 == 0)
        alarms += [
            f"{row['exception_type']} {row['subject_id']} {row['amount_at_stake']}"
            for row in found
            if row["account_id"].startswith(clean) and row["severity"] != "info"
        ]
        for kind, score in judge(worlds, found).items():
            total = totals[kind]
            total.planted += score.planted
            total.found += score.found
            total.exact += score.exact
            total.false += score.false
            total.examples += score.examples
    for kind, score in sorted(totals.items()):
        line = f"{kind:26} planted {score.planted:5} recall {score.recall:7.2%} "
        print(f"{line} precision {score.precision:7.2%} exact {score.exact}/{score.found}")
        for example in score.examples[: options.examples]:
            print(f"    {example}")
    rightly = shares.rightly / shares.parts if shares.parts else Decimal(1)
    print(f"invoice lines {shares.lines}: {rightly:.3%} of the parts in their true cause, ")
    print(f"    {shares.unexplained} with something unexplained, {shares.not_adding} not adding up")
    for example in shares.examples[: 4 * options.examples]:
        print(f"    {example}")
    print(f"alarms of clean months: {alarms[:20]}")
    print(json.dumps({"look-alikes": lookalikes, "types": Counter(totals.keys()).total()}))


if __name__ == "__main__":
    main()
