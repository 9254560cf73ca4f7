"""What a person sees while a sweep runs: one view at the foot of the terminal, made from the jobs' state files.

    state files, ended jobs -> board (what is known) -> estimate (time left) -> shown (text) -> screen (the terminal)

Jobs run in this process, in others or on other machines; all of them renew a state file, so that one view serves every
launcher. Nothing here is read where standard error is no terminal.
"""

from __future__ import annotations

from evalrun.launch.live.board import Board, Watched
from evalrun.launch.live.screen import showing

__all__ = ["Board", "Watched", "showing"]
