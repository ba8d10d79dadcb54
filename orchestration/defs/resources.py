"""The one resource: a home with its settings, bound once from what config.py read."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from orchestration.config import Runtime, read_runtime
from orchestration.defs.steps import RunLog, Steps

# Run tag that names the process of a run, so that a killed one can be told from one at work.
PROCESS_TAG = "tollbook/process"


def this_process() -> str:
    """Host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Listener:
    """Who started a run in this process, and is told how it goes."""

    log: RunLog
    progress: Callable[[str], None]


# Dagster makes its own copy of a resource for each run, so a listener is found by home instead.
_LISTENERS: dict[str, Listener] = {}


@contextmanager
def listening(home: Path, listener: Listener) -> Iterator[None]:
    """Have runs over `home` report to `listener` for the time of the block."""
    _LISTENERS[str(home)] = listener
    try:
        yield
    finally:
        _LISTENERS.pop(str(home), None)


class Tollbook(dg.ConfigurableResource):
    """A home folder and the tollbook.yml that describes it.

    Attributes:
        config_file: Absolute path of tollbook.yml.
        home: Absolute path of the home folder.
        as_of: The clock as ISO 8601 text; empty means now, at each run.
        full_refresh: Build every day whatever changed.
    """

    config_file: str
    home: str
    as_of: str = ""
    full_refresh: bool = False

    def runtime(self) -> Runtime:
        """The settings and the clock of this run.

        Raises:
            ConfigurationError: tollbook.yml does not hold what it must.
        """
        return read_runtime(
            config=Path(self.config_file), home=Path(self.home), as_of=self.as_of or None
        )

    def steps(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext,
    ) -> Steps:
        """The steps of the run that `context` belongs to."""
        if not isinstance(context, dg.OpExecutionContext):
            context = context.op_execution_context
        listener = _LISTENERS.get(self.home)
        if listener is None:
            listener = Listener(RunLog(), context.log.info)
            context.instance.add_run_tags(context.run_id, {PROCESS_TAG: this_process()})
        return Steps(
            runtime=self.runtime(),
            run=context.run_id,
            log=listener.log,
            progress=listener.progress,
        )


def tollbook_resource(runtime: Runtime, *, as_of: str = "", full_refresh: bool = False) -> Tollbook:
    """The resource for one runtime."""
    return Tollbook(
        config_file=str(runtime.config_file),
        home=str(runtime.home),
        as_of=as_of,
        full_refresh=full_refresh,
    )
