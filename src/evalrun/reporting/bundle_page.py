"""The first page of a bundle: links to its reports and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalrun.reporting.page_templates import page_template


def bundle_page(
    name: str, made: str, counts: Mapping[str, tuple[int, int]], reports: Sequence[str], items: bool
) -> str:
    """The page's HTML; names are escaped, nothing is loaded from elsewhere.

    Args:
        name: Of the bundle.
        made: When, in words.
        counts: Suite -> results, and the runs that they are of.
        reports: The reports' pages, below the bundle.
        items: Whether the items of results are in it.
    """
    return page_template("bundle.html.j2").render(
        name=name,
        made=made,
        counts=[(suite, results, runs) for suite, (results, runs) in counts.items()],
        reports=list(reports),
        items=items,
        light=[],
        dark=[],
    )
