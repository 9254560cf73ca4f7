"""One table of the report: a heading, rows of cells, a sentence on how to read it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class TableCell:
    """One cell of a table."""

    text: str
    kind: str = ""  # number, yes (significant), not (not significant): how it is set
    hint: str = ""
    run: str = ""  # id of the MLflow run that it is about
    beside: str = ""  # a page of the report's folder that is about it


@dataclass(frozen=True)
class SectionPicture:
    """A picture below a table."""

    title: str  # of the pictures from here on; empty to go on
    name: str
    alt: str  # what it shows, for those who do not see it
    address: str  # its bytes, as a data: address
    said: Sequence[str] = ()  # sentences about the pictures from here on
    kind: str = "answers"  # or drawn: how it is set


@dataclass(frozen=True)
class Section:
    """One table with its heading."""

    title: str
    about: str  # how to read it
    heads: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    more: str = ""  # what the page leaves out, and where it is
    pictures: Sequence[SectionPicture] = ()
    pages: Sequence[tuple[str, str]] = ()  # of the report's folder: title and path


def address_of(image: bytes, kind: str = "svg+xml") -> str:
    """An image's bytes as a data: address, of its kind: svg+xml or png."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def number_cell(value: float, digits: int, hint: str = "") -> TableCell:
    """A number set right, with a true minus sign; a dash where there is none."""
    return TableCell("–" if pd.isna(value) else f"{value:z.{digits}f}".replace("-", "−"), "number", hint)


def interval_cell(value: float, low: float, high: float, hint: str = "") -> TableCell:
    """`0.605 (−0.042 to 1.000)`: a number with its interval."""
    return TableCell(f"{value:z.3f} ({low:z.3f} to {high:z.3f})".replace("-", "−"), "number", hint)


def signed(value: float, digits: int) -> str:
    """A number with its sign, as text; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:+z.{digits}f}".replace("-", "−")
