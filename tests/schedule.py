# SPDX-License-Identifier: GPL-2.0-or-later
"""
Which tests one process runs, and in which order the processes are given them.

The tests of one guest are a group. The longest groups come first, so that no process is
left with one when the others are done.
"""

from __future__ import annotations

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

# What a group takes on two cores under emulation, in seconds: by its name, by the file
# whose tests share a guest of each kernel, or by the test that boots one for itself.
SECONDS = {
    "test_trace": 120,
    "test_complete": 240,
    "test_crash": 140,
    "test_live": 180,
    "test_kmod": 30,
    "test_kmod[6.12]": 200,
    "test_globals": 5,
    "test_stock": 100,
    "test_what_needs_no_guest_passes_out_of_an_installed_wheel": 200,
    "test_root": 65,
    "test_a_capture_survives_a_power_cut_up_to_its_last_seconds": 45,
    "test_a_kernel_that_watches_it_has_nothing_to_complain_of": 190,
    "test_a_flight_recorder_records_on_with_no_pagedbg_and_is_taken_over": 140,
    "test_a_damaged_or_hostile_file_ends_in_an_answer_or_in_one_sentence": 20,
    "test_pieces_tell_what_all_tells_where_events_were_lost": 10,
    "test_pieces_tell_what_all_tells": 8,
    "test_each_event_is_there_once_and_what_is_missing_is_counted": 8,
    "test_a_damaged_sealed_segment_ends_in_an_answer_or_a_sentence": 6,
    "test_whoever_is_killed_between_two_steps_of_sealing_changes_nothing": 5,
    "test_whoever_is_killed_between_two_steps_changes_nothing": 12,
    "test_what_is_held_tells_what_all_tells": 15,
    "test_where_events_were_lost_it_tells_the_same_or_that_it_is_not_known": 15,
    "test_programs_come_and_go_a_hundred_times_while_pages_do": 80,
}
ONE_GUEST, NO_GUEST = 25, 0.12

# Files whose tests all look at what the first of them makes.
TOGETHER = {
    "test_real_fleet": 120,
    "test_tags": 90,
    "test_open_snapshot": 20,
    "test_full_snapshot": 15,
}

# Files whose tests look at the guests of another file's.
SHARE = {
    "test_in_crash": "test_live",
    "test_live_memory": "test_live",
    "test_live_drgn": "test_live",
}


def group_of(test: str) -> str:
    """
    The group of the test with this id: ``test_live[6.12]``, the file for those that go
    :data:`TOGETHER`, or if it has its guest, or none, for itself, its id.
    """
    file = test.partition("::")[0].rpartition("/")[2].removesuffix(".py")
    if file in TOGETHER:
        return file
    match = re.fullmatch(
        r"tests/vm/(\w+)\.py::\w+\[(?:.*-)?(\d\.\d+|newest)(?:-.*)?\]", test
    )
    return f"{SHARE.get(match[1], match[1])}[{match[2]}]" if match else test


def seconds_of(group: str) -> float:
    """What a group takes."""
    name = group.rpartition("::")[2].partition("[")[0]
    return (SECONDS | TOGETHER).get(group) or SECONDS.get(
        name, ONE_GUEST if group.startswith("tests/vm/") else NO_GUEST
    )


class ByGuest(LoadScopeScheduling):  # type: ignore[misc]
    """
    Gives each process whole groups, in the order in which their tests were collected.
    """

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
