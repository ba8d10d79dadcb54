"""The benchmark's figures in words, as JSON, and as the table of docs/accuracy_benchmark.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accuracy.judge import Result, Score

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "bench" / "results" / "accuracy.json"
PAGE = REPOSITORY / "docs" / "accuracy_benchmark.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
BAR, SHARE_BAR = 0.99, 0.995
# Of each fault over all months.
PLANTS_BAR = 1_000


def figures(result: Result) -> list[dict[str, Any]]:
    """One row per figure: {name, figure, unit, anchor, ratio, bar, goal, passed}."""
    rows = []
    for kind, score in sorted(result.scores.items()):
        exact = score.exact / score.found if score.found else 1.0
        for name, figure, of in (
            ("recall", score.recall, score.planted),
            ("precision", score.precision, score.found + score.false),
            ("exact amounts", exact, score.found),
        ):
            bar = 1.0 if name == "exact amounts" else BAR
            rows.append(_figure(f"{kind}: {name}", figure, bar, anchor=f"of {of}"))
    for code in sorted(result.plants):
        score = result.faults.get(code, Score())
        if score.planted:
            name = f"fault {code}: recall"
            rows.append(_figure(name, score.recall, BAR, anchor=f"of {score.planted}"))
    shares = result.shares
    rightly = float(shares.rightly / shares.parts) if shares.parts else 1.0
    lines = f"of {shares.lines} lines"
    rows.append(_figure("variance in its true cause", rightly, SHARE_BAR, anchor=lines))
    for name, count, of in (
        ("lines with something unexplained", shares.unexplained, lines),
        ("lines whose parts do not add up", shares.not_adding, lines),
        ("alarms of clean months", len(result.alarms), f"of {result.clean_months} months"),
    ):
        row = _figure(name, count, 0, anchor=of)
        rows.append(row | {"unit": "count", "goal": 0, "passed": count == 0})
    if result.plants:
        code, count = min(result.plants.items(), key=lambda item: (item[1], item[0]))
        row = _figure("fewest plants of a fault", count, PLANTS_BAR, anchor=f"of {code}")
        rows.append(row | {"figure": count, "unit": "count", "goal": PLANTS_BAR})
    return rows


def _figure(name: str, figure: float, bar: float, *, anchor: str) -> dict[str, Any]:
    return {
        "name": name,
        "figure": round(figure, 6),
        "unit": "share",
        "anchor": anchor,
        "ratio": None,
        "bar": bar,
        "goal": 1.0,
        "passed": figure >= bar,
    }


def describe(result: Result, examples: int) -> str:
    """The figures for a terminal, with a few examples of what went wrong."""
    lines = []
    for kind, score in sorted(result.scores.items()):
        shares = f"recall {score.recall:7.2%}  precision {score.precision:7.2%}"
        exact = f"exact {score.exact} of {score.found}"
        lines.append(f"{kind:26} planted {score.planted:5}  {shares}  {exact}")
        lines += [f"    {example}" for example in score.examples[:examples]]
    lines += [
        f"{row['name']}: {row['figure']} {row['anchor']}"
        for row in figures(result)
        if ":" not in row["name"]
    ]
    lines += [f"    {example}" for example in result.shares.examples[: 4 * examples]]
    lines += [f"    alarm: {alarm}" for alarm in result.alarms[:examples]]
    return "\n".join(lines)


def write_results(result: Result, seeds: str) -> None:
    """Write the figures, and the table of the page between its marks."""
    RESULTS.write_text(json.dumps(figures(result), indent=1) + "\n")
    table = [
        f"{seeds}: {result.months} months, {result.clean_months} of them clean, "
        f"{result.lookalikes:,} look-alikes.",
        "",
        "| exception | planted | recall | precision | exact amounts |",
        "|---|--:|--:|--:|--:|",
    ]
    for kind, score in sorted(result.scores.items()):
        cells = f"{score.recall:.2%} | {score.precision:.2%} | {score.exact} of {score.found}"
        table.append(f"| {kind} | {score.planted:,} | {cells} |")
    table += [
        "",
        "| fault | planted | exceptions of it | found | exact amounts |",
        "|---|--:|--:|--:|--:|",
    ]
    for code, planted in sorted(result.plants.items()):
        score = result.faults.get(code, Score())
        found = f"{score.recall:.2%}" if score.planted else "its part of a line alone"
        exact = f"{score.exact} of {score.found}" if score.planted else ""
        table.append(f"| {code} | {planted:,} | {score.planted:,} | {found} | {exact} |")
    table += ["", "| what | figure | of | bar | holds |", "|---|--:|--:|--:|---|"]
    for row in figures(result):
        if ":" not in row["name"]:
            holds = "yes" if row["passed"] else "**no**"
            of = row["anchor"].removeprefix("of ")
            table.append(f"| {row['name']} | {row['figure']} | {of} | {row['bar']} | {holds} |")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{chr(10).join(table)}\n{END}{after}")
