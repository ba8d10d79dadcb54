"""What a measured child process does: take actions, time their work, answer in one line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

ANSWER = "bench-answer "


def cpu_seconds() -> float:
    """User and system seconds of this process and of its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Clock:
    """Times the block it is entered for, and named phases of it.

    Attributes:
        wall, cpu: Seconds of the block.
        phases: Wall seconds by name; what an action wants to be known besides.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.phases: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._cpu = cpu_seconds()
        self._wall = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += cpu_seconds() - self._cpu


Action = Callable[..., dict[str, Any]]


def serve(**actions: Action) -> None:
    """Run the action that the argument names, or each one that standard input names.

    An action is called with a Clock and the keyword arguments of its JSON request, times its work
    with the clock, and gives back facts: what it found, to be compared with the other side.
    """
    if sys.argv[1:2] == ["-"]:
        for line in sys.stdin:
            _answer(actions, json.loads(line))
        return
    _answer(actions, json.loads(sys.argv[1]))


def _answer(actions: dict[str, Action], request: dict[str, Any]) -> None:
    clock = Clock()
    facts = actions[request.pop("action")](clock, **request)
    peak_kib = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    answer = {
        "wall": clock.wall,
        "cpu": clock.cpu,
        "rss_mb": peak_kib / 1024,
        "facts": facts,
        "phases": clock.phases,
    }
    sys.stdout.write(f"\n{ANSWER}{json.dumps(answer, default=str)}\n")
    sys.stdout.flush()
