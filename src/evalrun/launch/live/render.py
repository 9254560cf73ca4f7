"""A sweep at one moment as text: a line for all of it, a line for each job at work, the last failures."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from evalrun.core.console import shortened
from evalrun.journal.job_state import JobState
from evalrun.launch.live.board import Snapshot
from evalrun.launch.live.quantities import gpu_memory, time_left

_WIDEST = 120  # on a wider terminal it stays together
_JOBS, _FAILURES = 12, 3  # lines of each at most
_BAR = 12
_DOING = 24  # columns kept for what a job is at, so that the bars stay where they are


class View:
    """What rich draws.

    Args:
        snapshot: The sweep.
        at_least: Lines to keep for jobs at work, so that the view does not jump when one ends.
    """

    def __init__(self, snapshot: Snapshot, at_least: int = 0) -> None:
        self.snapshot = snapshot
        self.at_least = at_least

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines that fit the terminal as it is now."""
        width = min(options.max_width - 1, _WIDEST)  # a line that fills the last column wraps on some terminals
        found = self.snapshot
        yield Segment.line()
        yield _headline(found, width)
        room = max(1, min(_JOBS, console.size.height // 2 - _FAILURES))
        yield _jobs(found.at_work[:room], width)
        if len(found.at_work) > room:
            yield Text(f"  and {len(found.at_work) - room} more at work", "dim")
        for _ in range(len(found.at_work), min(self.at_least, room)):
            yield Segment.line()
        for failure in found.failures[-_FAILURES:]:
            yield Text.assemble(("failed ", "red"), _fit(failure, width - 7), no_wrap=True)


def _headline(found: Snapshot, width: int) -> Table:
    """`18 of 64 jobs  ━━━━━━━  2 failed  1,840 requests/s  12 min left`: where it is narrow the bar gives way first."""
    jobs = f"{found.done:,} of {found.total:,} jobs"
    parts = list(_told(found))
    while parts and cell_len("  ".join([jobs, *(words for words, _ in parts)])) > width:
        parts.remove(next((part for part in parts if part[0].endswith("requests/s")), parts[0]))
    taken = cell_len("  ".join([jobs, *(words for words, _ in parts)])) + 2
    row: list[Text | ProgressBar] = [Text(jobs, "bold")]
    if width - taken >= 6:
        ended = found.done + len(found.failures)
        row.append(_bar(ended, found.total, min(30, width - taken)))
    row += [Text(words, style) for words, style in parts]
    return _line([row])


def _told(found: Snapshot) -> Iterator[tuple[str, str]]:
    if found.failures:
        yield f"{len(found.failures)} failed", "red"
    if found.rate is not None:
        yield f"{found.rate:,.0f} requests/s" if found.rate >= 10 else f"{found.rate:.1f} requests/s", ""
    if found.left is not None and found.done + len(found.failures) < found.total:
        yield time_left(found.left), ""


def _jobs(states: Sequence[JobState], width: int) -> Table:
    """Label, what it is at, and how far; of a narrow terminal memory, host and bar give way in this order."""
    here = socket.gethostname()
    shares = [f"{state.scored / state.requests:.0%}" if state.requests else "" for state in states]
    hosts = [state.host if state.host != here else "" for state in states]
    memory = [gpu_memory(state.gpu_memory) for state in states]
    least = 16  # of what a job is at
    labels = [shortened(state.label, max(least, width - least - 8)) for state in states]
    taken = [max(map(cell_len, column), default=0) for column in (labels, shares, hosts, memory)]
    room = width - taken[0] - taken[1] - 4 - least
    with_bar = room >= _BAR + 2
    room -= _BAR + 2 if with_bar else 0
    with_host = bool(taken[2]) and room >= taken[2] + 2
    room -= taken[2] + 2 if with_host else 0
    with_memory = bool(taken[3]) and room >= taken[3] + 2
    room -= taken[3] + 2 if with_memory else 0
    rows = []
    for i, state in enumerate(states):
        doing = _fit(_doing(state), least + room).ljust(min(_DOING, least + room))
        row: list[Text | ProgressBar] = [Text(labels[i], "cyan"), Text(doing)]
        if with_bar:
            row.append(_bar(state.scored, state.requests, _BAR) if state.requests else Text(""))
        row.append(Text(shares[i], justify="right"))
        row += [Text(hosts[i], "dim")] if with_host else []
        row += [Text(memory[i], "dim")] if with_memory else []
        rows.append(row)
    return _line(rows)


def _bar(done: int, total: int, width: int) -> ProgressBar:
    style = "green"
    return ProgressBar(total=total, completed=done, width=width, complete_style=style, finished_style=style)


def _line(rows: Sequence[Sequence[Text | ProgressBar]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in rows[0] if rows else ():
        table.add_column(no_wrap=True, overflow="crop")
    for row in rows:
        table.add_row(*row)
    return table


def _doing(state: JobState) -> str:
    return state.doing.removeprefix("scoring ") or "starting"


def _fit(text: str, width: int) -> str:
    """The text, or its beginning and three dots: an ellipsis is not in every terminal's encoding."""
    line = " ".join(text.split())
    if cell_len(line) <= width:
        return line
    return set_cell_size(line, width - 3) + "..." if width > 3 else ""
