"""The foot of the terminal: redrawn twice a second from a thread, with everything that is printed above it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

from evalrun.core.console import can_redraw
from evalrun.core.errors import first_line
from evalrun.launch.live.board import Board, Watched

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

log = logging.getLogger(__name__)
_EVERY_S = 0.5


@contextmanager
def showing(jobs: Sequence[Watched]) -> Iterator[Board]:
    """Show a sweep while the block lasts, where standard error can be redrawn.

    Args:
        jobs: In the order of the sweep.

    Yields:
        What is to be told of every job that ended.
    """
    board = Board(jobs)
    if not can_redraw():
        yield board
        return
    from rich.console import Console
    from rich.live import Live

    drawing = _Drawing(board)
    console = Console(file=sys.stderr, force_terminal=True, highlight=False, markup=False, emoji=False)
    live = Live(
        console=console, get_renderable=drawing.now, auto_refresh=False, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with ExitStack() as stack:
        stack.callback(live.stop)  # whatever ends the block, the cursor is there again
        stack.enter_context(redirect_stderr(stack.enter_context(StreamAboveView(console, sys.stderr))))
        if sys.stdout.isatty():
            stack.enter_context(redirect_stdout(stack.enter_context(StreamAboveView(console, sys.stdout))))
        live.start()
        stack.enter_context(drawing.again(live))
        yield board


class _Drawing:
    """Looks at the board from a thread and has it drawn; also drawn again below each line that is printed."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._rows = 0  # most jobs that were at work at once
        self._failed = False

    def now(self) -> RenderableType:
        """The sweep at this moment."""
        from evalrun.launch.live.render import View

        if self._failed:
            return ""
        found = self._board.snapshot()
        self._rows = max(self._rows, len(found.at_work))
        return View(found, self._rows)

    @contextmanager
    def again(self, live: Live) -> Iterator[None]:
        """Draw twice a second while the block lasts."""
        end = threading.Event()

        def draw() -> None:
            try:
                while not end.wait(_EVERY_S):
                    self._board.look()
                    live.refresh()
            except Exception as error:  # the sweep is worth more than its picture
                log.debug("the live view ended: %s", first_line(error), exc_info=True)
                self._failed = True

        thread = threading.Thread(target=draw, name="live-view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join(timeout=5)


class StreamAboveView(io.TextIOBase):
    """Standard output or error while a view is shown: whole lines go above it.

    It says that it is no terminal, so that other libraries' progress bars keep quiet. Who keeps it when the view is
    gone, as logging handlers do, writes to the stream it stands for.

    Args:
        console: Of the view.
        stream: What it stands for.
    """

    def __init__(self, console: Console, stream: TextIO) -> None:
        self._console = console
        self._stream = stream
        self._begun: str | None = ""  # a line that has no end yet; None when the view is gone
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream that this one stands for."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Whether lines go to a terminal: never while the view is shown."""
        return self._begun is None and self._stream.isatty()

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def write(self, text: str) -> int:
        """Print the lines that end here, each as long as it is; keep the rest for later."""
        with self._lock:
            if self._begun is None:
                return self._stream.write(text)
            *lines, self._begun = (self._begun + text).split("\n")
            for line in lines:
                self._print(line)
        return len(text)

    def flush(self) -> None:
        """Lines are out already."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """What else a stream has, such as its buffer."""
        return getattr(self._stream, name)

    def fileno(self) -> int:
        """The number of the stream that this one stands for: what is written there directly is not seen here."""
        return self._stream.fileno()

    def __exit__(self, *args: Any) -> None:
        """Print what has no end, and stand aside; what is no view's any more is not closed."""
        with self._lock:
            if self._begun:
                self._print(self._begun)
            self._begun = None

    def _print(self, line: str) -> None:
        from rich.text import Text

        try:
            self._console.print(Text.from_ansi(line), soft_wrap=True)
        except Exception:  # neither a closed terminal nor a fault of the view is worth losing a run for
            with suppress(OSError, ValueError):
                self._stream.write(line + "\n")
