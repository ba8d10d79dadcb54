"""Measurement: target and anchor in turn, in child processes, equal results before any time."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from clock import ANSWER

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results" / "performance.json"
PAGE = BENCH.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
# Longest a single child may take: the load of the largest file at today's speed.
_CHILD_SECONDS = 7200


class BenchError(RuntimeError):
    """A side failed, or the two sides disagree; no time counts then."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one side.

    Attributes:
        wall, cpu: Seconds.
        rss_mb: Peak resident memory of the child.
        facts: What the work found, for the comparison with the other side.
        phases: Wall seconds of parts of the work.
    """

    wall: float
    cpu: float
    rss_mb: float
    facts: dict[str, Any]
    phases: dict[str, float] = field(default_factory=dict)


Side = Callable[[int], Sample]
Gate = Callable[[Sample, Sample], None]


# ---------------------------------------------------------------- children


@dataclass(frozen=True, slots=True)
class Children:
    """Starts child processes over one checkout.

    Attributes:
        python: Interpreter with the product's dependencies.
        project: Checkout whose code is measured.
    """

    python: str
    project: Path

    def environment(self) -> dict[str, str]:
        """The variables of a child: its code, and nothing that calls home."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(self.project), str(BENCH))),
            "DO_NOT_TRACK": "1",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def act(self, script: str, action: str, **request: Any) -> Sample:
        """One action in a process of its own, timed by its own clock."""
        command = [self.python, str(BENCH / script), _message(action, request)]
        _, output = _spend(command, self)
        return _read_answer(output, command)

    def whole(self, *arguments: str, python: str | None = None) -> Sample:
        """A whole Python process, from its start to its end."""
        sample, _ = _spend([python or self.python, *arguments], self)
        return sample

    def worker(self, script: str) -> Worker:
        """A process that stays and takes one action after another."""
        return Worker(self, script)


def _message(action: str, request: dict[str, Any]) -> str:
    return json.dumps({"action": action, **request}, default=str)


def _spend(command: Sequence[str], children: Children) -> tuple[Sample, str]:
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=children.environment(),
            cwd=children.project,
            stdout=output,
            stderr=errors,
        )
        guard = threading.Timer(_CHILD_SECONDS, process.kill)
        guard.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        guard.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
        if process.returncode:
            errors.seek(0)
            tail = (text[-1000:] + errors.read()[-3000:]).strip()
            raise BenchError(f"{_named(command)}: exit {process.returncode}: {tail}")
    cpu = usage.ru_utime + usage.ru_stime
    facts = {"said": text.strip().splitlines()[:1]}
    return Sample(wall=wall, cpu=cpu, rss_mb=usage.ru_maxrss / 1024, facts=facts), text


def _named(command: Sequence[str]) -> str:
    return " ".join(str(part) for part in command)[:300]


def _read_answer(output: str, command: Sequence[str]) -> Sample:
    for line in reversed(output.splitlines()):
        if line.startswith(ANSWER):
            return Sample(**json.loads(line[len(ANSWER) :]))
    raise BenchError(f"{_named(command)}: no answer in: {output[-500:]}")


class Worker:
    """A living child: imports once, then takes actions over its standard input."""

    def __init__(self, children: Children, script: str) -> None:
        self._command = [children.python, str(BENCH / script), "-"]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            self._command,
            env=children.environment(),
            cwd=children.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=60)
        self._errors.close()

    def act(self, action: str, **request: Any) -> Sample:
        """One action in the living process."""
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchError("the worker has no pipes")
        self._process.stdin.write(_message(action, request) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return Sample(**json.loads(line[len(ANSWER) :]))
        self._errors.seek(0)
        raise BenchError(f"{_named(self._command)} {action}: {self._errors.read()[-3000:]}")


# ---------------------------------------------------------------- comparison


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired measurements of two sides that found the same."""

    target: tuple[Sample, ...]
    anchor: tuple[Sample, ...]

    def ratio(self, measure: str = "wall") -> float:
        """The ratio of the medians."""
        return _median(self.target, measure) / max(_median(self.anchor, measure), 1e-9)

    def spread(self, measure: str = "wall") -> tuple[float, float]:
        """Where 95 % of the ratios lie when pairs are drawn again and again (bootstrap)."""
        if len(self.target) < 2:
            return self.ratio(measure), self.ratio(measure)
        chance = random.Random(1)
        ours = [getattr(sample, measure) for sample in self.target]
        theirs = [getattr(sample, measure) for sample in self.anchor]
        ratios = sorted(
            statistics.median(chance.choices(ours, k=len(ours)))
            / max(statistics.median(chance.choices(theirs, k=len(theirs))), 1e-9)
            for _ in range(2000)
        )
        return ratios[50], ratios[-51]


def _median(samples: Sequence[Sample], measure: str) -> float:
    return statistics.median(getattr(sample, measure) for sample in samples)


def same_facts(target: Sample, anchor: Sample) -> None:
    """The gate of most benches: every fact that both sides state is equal.

    Raises:
        BenchError: naming the facts that differ.
    """
    shared = target.facts.keys() & anchor.facts.keys()
    if not shared:
        raise BenchError(f"nothing to compare: {target.facts} and {anchor.facts}")
    differing = {
        name: (target.facts[name], anchor.facts[name])
        for name in sorted(shared)
        if target.facts[name] != anchor.facts[name]
    }
    if differing:
        raise BenchError(f"target and anchor differ: {differing}")


def compare(target: Side, anchor: Side, *, pairs: int, gate: Gate = same_facts) -> Comparison:
    """Measure target and anchor alternately; each pair passes the gate before it counts.

    Raises:
        BenchError: a side failed or the gate did not open.
    """
    ours: list[Sample] = []
    theirs: list[Sample] = []
    for pair in range(pairs):
        ours.append(target(pair))
        theirs.append(anchor(pair))
        gate(ours[-1], theirs[-1])
    return Comparison(target=tuple(ours), anchor=tuple(theirs))


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class Bar:
    """What a bench must reach, and what it should: upper bounds of its ratio."""

    bar: float
    goal: float


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        name, variant: The bench, and which of its cases.
        figure, unit, anchor: Ours and the anchor's median, in `unit`.
        ratio, spread: Ratio of medians, and where 95 % of it lies.
        cpu_ratio: The same of CPU seconds; None where it says nothing.
        rows, pairs: Size of the work, and how often it was measured.
        details: Phases and other measured numbers.
    """

    name: str
    variant: str
    figure: float
    unit: str
    anchor: float
    anchor_name: str
    ratio: float
    spread: tuple[float, float]
    bar: float
    goal: float
    passed: bool
    goal_met: bool
    cpu_ratio: float | None
    peak_rss_mb: float
    rows: int
    pairs: int
    details: dict[str, Any] = field(default_factory=dict)


def result_of(
    found: Comparison,
    bar: Bar,
    *,
    name: str,
    variant: str,
    anchor_name: str,
    rows: int,
    details: dict[str, Any] | None = None,
) -> Result:
    """The table's line of a comparison of times."""
    ratio = found.ratio()
    return Result(
        name=name,
        variant=variant,
        figure=_short(_median(found.target, "wall")),
        unit="s",
        anchor=_short(_median(found.anchor, "wall")),
        anchor_name=anchor_name,
        ratio=_short(ratio),
        spread=(_short(found.spread()[0]), _short(found.spread()[1])),
        bar=bar.bar,
        goal=bar.goal,
        passed=ratio <= bar.bar,
        goal_met=ratio <= bar.goal,
        cpu_ratio=_short(found.ratio("cpu")),
        peak_rss_mb=_short(max(sample.rss_mb for sample in found.target)),
        rows=rows,
        pairs=len(found.target),
        details={
            "cpu": _short(_median(found.target, "cpu")),
            "anchor_cpu": _short(_median(found.anchor, "cpu")),
            **_median_phases(found.target),
            **(details or {}),
        },
    )


def figure_of(
    figure: float,
    anchor: float,
    bar: Bar,
    *,
    name: str,
    variant: str,
    unit: str,
    anchor_name: str,
    rows: int,
    details: dict[str, Any] | None = None,
) -> Result:
    """The table's line of something that is counted, not timed."""
    ratio = figure / anchor
    return Result(
        name=name,
        variant=variant,
        figure=_short(figure),
        unit=unit,
        anchor=_short(anchor),
        anchor_name=anchor_name,
        ratio=_short(ratio),
        spread=(_short(ratio), _short(ratio)),
        bar=bar.bar,
        goal=bar.goal,
        passed=ratio <= bar.bar,
        goal_met=ratio <= bar.goal,
        cpu_ratio=None,
        peak_rss_mb=0.0,
        rows=rows,
        pairs=1,
        details=details or {},
    )


def _median_phases(samples: Sequence[Sample]) -> dict[str, float]:
    """The longest phases, by their medians."""
    names = {name for sample in samples for name in sample.phases}
    medians = {
        name: statistics.median(sample.phases.get(name, 0.0) for sample in samples)
        for name in names
    }
    longest = sorted(medians.items(), key=lambda item: (-item[1], item[0]))[:10]
    return {f"s_{name}": _short(seconds) for name, seconds in longest}


def _short(number: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{number:.4g}")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import duckdb

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def store(results: Sequence[Result], order: Sequence[str]) -> None:
    """Put new results in place of older ones of the same bench, variant and size.

    The file keeps the order of `order`, then variant and size.
    """
    old = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"results": []}
    rows = {_key(row): row for row in old["results"]}
    on = machine()
    for result in results:
        row = {**asdict(result), "spread": list(result.spread), "machine": on}
        rows[_key(row)] = row
    places = {name: place for place, name in enumerate(order)}
    ordered = sorted(
        rows.values(), key=lambda r: (places.get(r["name"], len(places)), r["variant"], r["rows"])
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    part = RESULTS.with_suffix(".tmp")
    part.write_text(json.dumps({"results": ordered}, indent=1, ensure_ascii=False) + "\n")
    part.replace(RESULTS)


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["name"], row["variant"], row["rows"]


# ---------------------------------------------------------------- the page


def write_page() -> None:
    """Put the table of all stored results between the markers of docs/performance.md."""
    rows = json.loads(RESULTS.read_text())["results"]
    page = PAGE.read_text() if PAGE.is_file() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(_table(rows))
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| bench | rows | ours | anchor | ratio (95 %) | CPU ratio | bar | goal | holds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    return lines + [_line(row) for row in rows]


def _line(row: dict[str, Any]) -> str:
    name = row["name"] + (f" ({row['variant']})" if row["variant"] else "")
    low, high = row["spread"]
    spread = f" ({low:.3g} to {high:.3g})" if row["pairs"] > 1 else ""
    cpu = "" if row["cpu_ratio"] is None else f"{row['cpu_ratio']:.3g}"
    verdict = "goal" if row["goal_met"] else "bar" if row["passed"] else "**no**"
    cells = (
        name,
        f"{row['rows']:,}",
        f"{row['figure']:.3g} {row['unit']}",
        f"{row['anchor']:.3g} {row['unit']} ({row['anchor_name']})",
        f"{row['ratio']:.3g}{spread}",
        cpu,
        f"{row['bar']:.3g}",
        f"{row['goal']:.3g}",
        verdict,
    )
    return f"| {' | '.join(cells)} |"
