# SPDX-License-Identifier: GPL-2.0-or-later
"""
The relations that commands give, by name. What is written for scripts stands in
contrib/schema.md, and changes with SCHEMA_VERSION.
"""

from __future__ import annotations

from pagedbg.schema import (
    allocation_columns,
    block_columns,
    event_columns,
    explanation_columns,
    fleet_columns,
    histogram_columns,
    kernel_columns,
    map_columns,
    memory_columns,
    page_columns,
    pageblock_columns,
    query_columns,
    snapshot_columns,
    zone_columns,
)
from pagedbg.schema.columns import SchemaColumn

SCHEMA_VERSION = 3
"""To be raised when a column is renamed, removed, or means something else."""

RELATIONS: dict[str, tuple[SchemaColumn, ...]] = {
    "pages": page_columns.PAGES,
    "page_facts": page_columns.PAGE_FACTS,
    "kept_pages": page_columns.KEPT_PAGES,
    "page_runs": page_columns.PAGE_RUNS,
    "slab_objects": page_columns.SLAB_OBJECTS,
    "page_mappings": page_columns.PAGE_MAPPINGS,
    "block_parts": page_columns.BLOCK_PARTS,
    "losses": event_columns.LOSSES,
    "blocks": block_columns.BLOCKS,
    "block_keys": block_columns.BLOCK_KEYS,
    "block_sums": block_columns.BLOCK_SUMS,
    "site_sums": block_columns.SITE_SUMS,
    "memory": memory_columns.MEMORY,
    "memory_sums": memory_columns.MEMORY_SUMS,
    "unaccounted": memory_columns.UNACCOUNTED,
    "slab_sums": memory_columns.SLAB_SUMS,
    "pools": memory_columns.POOLS,
    "largest": memory_columns.LARGEST,
    "processes": memory_columns.PROCESSES,
    "memory_events": memory_columns.MEMORY_EVENTS,
    "health": memory_columns.HEALTH,
    "stacks": block_columns.STACKS,
    "zones": zone_columns.ZONES,
    "free_areas": zone_columns.FREE_AREAS,
    "pageblocks": pageblock_columns.PAGEBLOCKS,
    "pageblock_keys": pageblock_columns.PAGEBLOCK_KEYS,
    "pageblock_sums": pageblock_columns.PAGEBLOCK_SUMS,
    "pinned_pages": pageblock_columns.PINNED_PAGES,
    "map_cells": map_columns.MAP_CELLS,
    "map_contents": map_columns.MAP_CONTENTS,
    "map_cell": map_columns.MAP_CELL,
    "events": event_columns.EVENTS,
    "event_counts": histogram_columns.EVENT_COUNTS,
    "allocations": allocation_columns.ALLOCATIONS,
    "allocation_keys": allocation_columns.ALLOCATION_KEYS,
    "allocation_sums": allocation_columns.ALLOCATION_SUMS,
    "lifetimes": allocation_columns.LIFETIMES,
    "lifetime_counts": histogram_columns.LIFETIME_COUNTS,
    "trace": kernel_columns.TRACE,
    "orders": kernel_columns.BY_ORDER,
    "frozen": explanation_columns.FROZEN,
    "recorders": kernel_columns.RECORDERS,
    "kernel": kernel_columns.KERNEL,
    "capabilities": kernel_columns.CAPABILITIES,
    "messages": kernel_columns.MESSAGES,
    "failures": explanation_columns.FAILURES,
    "explanation": explanation_columns.EXPLANATION,
    "snapshots": snapshot_columns.SNAPSHOTS,
    "owner_sums": snapshot_columns.OWNER_SUMS,
    "stack_names": snapshot_columns.STACK_NAMES,
    "growth": snapshot_columns.GROWTH,
    "trend": snapshot_columns.TREND,
    "lake_snapshots": fleet_columns.LAKE_SNAPSHOTS,
    "lake_days": fleet_columns.LAKE_DAYS,
    "lake_owners": fleet_columns.LAKE_OWNERS,
    "fleet_sums": fleet_columns.FLEET_SUMS,
    "fleet_growth": fleet_columns.FLEET_GROWTH,
    "kernel_growth": fleet_columns.KERNEL_GROWTH,
    "fleet_trend": fleet_columns.FLEET_TREND,
    "host_sums": fleet_columns.HOST_SUMS,
    "sql_columns": query_columns.SQL_COLUMNS,
    "saved_queries": query_columns.SAVED_QUERIES,
}
"""All of them, by the names that contrib/schema.md has for them."""
