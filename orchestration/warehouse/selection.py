"""Which nodes of the dbt project a build of some days has to run.

A view whose text is the same in every run stands as the last build of every day left it; a view
that names the days of a build, or its clock, is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

# Tag of the nodes of a build of some days.
DUE_TAG = "due"
# What differs from run to run reaches models through this macro alone.
_PLAN = "macro.tollbook.build_plan"


def tag_nodes_of_some_days(
    manifest: Manifest, *, has_new_seeds: bool, excluded_tags: Iterable[str]
) -> None:
    """Tag the nodes to run: every table, the views that differ, and the tests of all models.

    dbt finds a tag by looking at each node once, but each of many names by looking at all nodes.
    The project must be the one that the last build of every day was made with.
    """
    planned = _macros_that_call(manifest, _PLAN)
    tags = set(excluded_tags)
    for node in manifest.nodes.values():
        kind = str(node.resource_type)
        if kind == "seed":
            is_run = has_new_seeds
        elif kind == "model":
            is_run = node.config.materialized != "view" or bool(
                planned.intersection(node.depends_on.macros)
            )
        else:
            is_run = kind == "test" and not tags.intersection(node.tags)
        if is_run:
            node.tags = [*node.tags, DUE_TAG]


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
