"""Which nodes of the dbt project a build of some days has to run.

A view whose text is the same in every run stands as the last build of every day left it; a view
that names the days of a build, or its clock, is made anew. A test runs where something that it
reads, through whatever views, was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

# Tag of the nodes of a build of some days.
DUE_TAG = "due"
# What differs from run to run reaches models through this macro alone.
_PLAN = "macro.tollbook.build_plan"


def tag_nodes_of_some_days(
    manifest: Manifest, *, has_new_seeds: bool, excluded_tags: Iterable[str]
) -> None:
    """Tag the nodes to run: every table, the views that differ, and the tests of what is run.

    dbt finds a tag by looking at each node once, but each of many names by looking at all nodes.
    The project must be the one that the last build of every day was made with.
    """
    planned = _macros_that_call(manifest, _PLAN)
    tags = set(excluded_tags)
    runs: dict[str, bool] = {}
    for name, node in manifest.nodes.items():
        kind = str(node.resource_type)
        if kind == "seed":
            runs[name] = has_new_seeds
        elif kind == "model":
            runs[name] = not tags.intersection(node.tags) and (
                node.config.materialized != "view"
                or bool(planned.intersection(node.depends_on.macros))
            )
    changing: dict[str, bool] = {}
    for name, node in manifest.nodes.items():
        is_run = runs.get(name, False)
        if str(node.resource_type) == "test" and not tags.intersection(node.tags):
            is_run = any(_is_changing(manifest, each, runs, changing) for each in _parents(node))
        if is_run:
            node.tags = [*node.tags, DUE_TAG]


def _is_changing(
    manifest: Manifest, name: str, runs: dict[str, bool], known: dict[str, bool]
) -> bool:
    """Whether a run can change what a node gives: it is run, or is a view of what changes.

    What is loaded changes; a table that is not run does not.
    """
    if name not in known:
        node = manifest.nodes.get(name)
        if node is None or runs[name]:
            known[name] = True
        else:
            is_view = str(node.resource_type) == "model" and node.config.materialized == "view"
            known[name] = is_view and any(
                _is_changing(manifest, each, runs, known) for each in _parents(node)
            )
    return known[name]


def _parents(node: Any) -> list[str]:
    return node.depends_on.nodes


def _macros_that_call(manifest: Manifest, macro_id: str) -> set[str]:
    """The macros that call one, themselves or through others, and that one."""
    found = {macro_id}
    while True:
        callers = {
            each.unique_id
            for each in manifest.macros.values()
            if each.unique_id not in found and found.intersection(each.depends_on.macros)
        }
        if not callers:
            return found
        found |= callers
