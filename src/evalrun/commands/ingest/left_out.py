"""What was left out, in few sentences: one for each reason, with the files that it is about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from evalrun.commands.ingest.parsed import Skipped
from evalrun.core.text import counted

_MOST = 12  # reasons of one kind
_NAMED = 3  # files of one reason


def sentences(left: Iterable[Skipped], passed: Iterable[str] = ()) -> list[str]:
    """One for each reason, grouped by what kind it is; of one kind the reasons that concern most results.

    Args:
        left: What is not filed.
        passed: Tables of something else.
    """
    kinds: dict[str, list[Skipped]] = defaultdict(list)
    for one in left:
        kinds[one.kind].append(one)
    said = []
    for found in kinds.values():
        about: dict[str, Counter[str]] = defaultdict(Counter)
        for one in found:
            about[one.reason][one.file] += 1
        ordered = sorted(about.items(), key=lambda item: -item[1].total())
        said += [_sentence(reason, files) for reason, files in ordered[:_MOST]]
        if rest := ordered[_MOST:]:
            results = sum(files.total() for _, files in rest)
            said.append(f"... and {counted(len(rest), 'more reason')} of this kind, for {counted(results, 'result')}.")
    return said + [f"{name}: is no table of results." for name in passed]


def _sentence(reason: str, files: Counter[str]) -> str:
    """`a.json, b.json, c.json (and 3 more files): breaks off (12 results).`"""
    names, results = list(files), files.total()
    more = len(names) - _NAMED
    where = f"{', '.join(names[:_NAMED])} (and {counted(more, 'more file')})" if more > 0 else ", ".join(names)
    times = f" ({results:,} results)" if results > 1 else ""
    return f"{where}: {reason.rstrip('.')}{times}{'' if reason.endswith('?') and not times else '.'}"
