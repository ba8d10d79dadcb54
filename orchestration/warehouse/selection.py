"""Which nodes of the dbt project a build of some days has to run.

A view whose text is the same in every run stands as the last build of every day left it; a view
that names the days of a build, or its clock, is made anew. A test runs where something that it
reads, through whatever views, was made. A table that gives rows only of what nobody feeds is left
as it is: empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

# Tag of the nodes of a build of some days.
DUE_TAG = "due"
# What differs from run to run reaches models through this macro alone.
_PLAN = "macro.tollbook.build_plan"
# Where a table's config names what it has no rows without: seeds, a column of one (which must then
# hold a value), models. Of a view and of a staging model what it reads is meant.
_NEEDS = "rows_need"


@dataclass(frozen=True, slots=True)
class Need:
    """Something that may be without rows.

    Attributes:
        relation: As SQL names it.
        column: The column that must hold a value; empty where any row counts.
    """

    relation: str
    column: str = ""


def tag_nodes_of_some_days(
    manifest: Manifest,
    *,
    has_new_seeds: bool,
    excluded_tags: Iterable[str],
    which_are_empty: Callable[[set[Need]], set[Need]],
) -> None:
    """Tag the nodes to run: every table, the views that differ, and the tests of what is run.

    dbt finds a tag by looking at each node once, but each of many names by looking at all nodes.
    The project must be the one that the last build of every day was made with.

    Args:
        manifest: The parsed project, whose nodes are tagged.
        has_new_seeds: Whether seeds are loaded, so that what is empty now may not stay so.
        excluded_tags: Whose nodes are not run.
        which_are_empty: Tells of some needs those that have no rows.
    """
    planned = _macros_that_call(manifest, _PLAN)
    idle = set() if has_new_seeds else _idle_tables(manifest, which_are_empty)
    tags = set(excluded_tags)
    runs: dict[str, bool] = {}
    for name, node in manifest.nodes.items():
        kind = str(node.resource_type)
        if kind == "seed":
            runs[name] = has_new_seeds
        elif kind == "model":
            runs[name] = (
                not tags.intersection(node.tags)
                and name not in idle
                and (
                    node.config.materialized != "view"
                    or bool(planned.intersection(node.depends_on.macros))
                )
            )
    changing: dict[str, bool] = {}
    for name, node in manifest.nodes.items():
        is_run = runs.get(name, False)
        if str(node.resource_type) == "test" and not tags.intersection(node.tags):
            is_run = any(_is_changing(manifest, each, runs, changing) for each in _parents(node))
        if is_run:
            node.tags = [*node.tags, DUE_TAG]


def _idle_tables(manifest: Manifest, which_are_empty: Callable[[set[Need]], set[Need]]) -> set[str]:
    """The tables that are empty and stay so, as nothing has rows of which they would get any."""
    wanted = {
        name: {_all_of(node), *needs_of(manifest, name)}
        for name, node in manifest.nodes.items()
        if node.config.meta.get(_NEEDS) and node.config.materialized != "view"
    }
    empty = which_are_empty({need for needs in wanted.values() for need in needs})
    return {name for name, needs in wanted.items() if needs <= empty}


def needs_of(manifest: Manifest, name: str) -> set[Need]:
    """What a node has no rows without, down to what is loaded."""
    node = manifest.nodes.get(name)
    if node is None:
        return {_all_of(manifest.sources[name])}
    if str(node.resource_type) == "seed":
        return {_all_of(node)}
    named = node.config.meta.get(_NEEDS)
    if named is None:
        if node.config.materialized != "view" and not node.name.startswith("stg_"):
            raise ValueError(f"{node.name} is needed for rows, but does not say what it needs")
        return {need for parent in _parents(node) for need in needs_of(manifest, parent)}
    found = set()
    for each in named:
        name_of, _, column = each.partition(".")
        (parent,) = (
            unique_id
            for unique_id in (
                f"model.{node.package_name}.{name_of}",
                f"seed.{node.package_name}.{name_of}",
            )
            if unique_id in manifest.nodes
        )
        needs = needs_of(manifest, parent)
        found |= {Need(need.relation, column) for need in needs} if column else needs
    return found


def _all_of(node: Any) -> Need:
    return Need(str(node.relation_name))


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
