"""A gate's verdicts as files that CI pages show: JUnit XML and Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from evalrun.commands.compare.render import number
from evalrun.commands.gate.results import GateResult
from evalrun.commands.gate.verdicts import BREACH, PASSES, UNKNOWN, GateCheck
from evalrun.commands.gate.wording import asked, headline, how, interval, item_line, power_lines, sentence
from evalrun.core.atomic import write_file
from evalrun.core.text import markdown_escape

# Characters that XML 1.0 has no way to write (section 2.2).
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUMMARY = "GITHUB_STEP_SUMMARY"  # the file that GitHub Actions shows; what a job wrote to it before stays


def junit(result: GateResult) -> str:
    """A test suite with a case for each thing that is asked.

    A breach is a failure, and so is what is undecided unless the gate lets that pass, which is a skipped case then;
    what has no verdict is an error.
    """
    name = f"gate {result.gate.name}"
    suite = ElementTree.Element("testsuite", name=_clean(name), hostname="", time="0")
    properties = ElementTree.SubElement(suite, "properties")
    told = {"checkpoint": result.sides.checkpoint.label, "against": result.sides.against, "result": headline(result)}
    for key, value in told.items():
        ElementTree.SubElement(properties, "property", name=key, value=_clean(value))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for check in result.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(f"evalrun.gate.{result.gate.name}"),
            name=_clean(f"{check.task}: {asked(check)}"), time="0",
        )  # fmt: skip
        said = sentence(check)
        if (kind := _kind(check, result.gate.undecided)) is None:
            ElementTree.SubElement(case, "system-out").text = _clean(said)
            continue
        counts[kind] += 1
        found = ElementTree.SubElement(case, kind, message=_clean(said))
        if kind != "skipped":
            found.set("type", check.verdict)
        found.text = _clean("\n".join([said, *(item_line(item) for item in check.broken)]))
    ElementTree.SubElement(suite, "system-out").text = _clean("\n".join([*result.notes, *power_lines(result)]))
    tests = {"tests": len(result.checks), "failures": counts["failure"], "errors": counts["error"]}
    numbers = {key: str(value) for key, value in {**tests, "skipped": counts["skipped"]}.items()}
    suite.attrib.update(numbers)
    suites = ElementTree.Element("testsuites", {"name": "evalrun", "time": "0", **numbers})
    suites.append(suite)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _kind(check: GateCheck, undecided: str) -> str | None:
    """What a check is to JUnit: None for one that passes."""
    kinds = {PASSES: None, BREACH: "failure", UNKNOWN: "error"}
    return kinds.get(check.verdict, "failure" if undecided == "fail" else "skipped")


def _clean(text: str) -> str:
    return _NO_XML.sub("�", text)


def markdown(result: GateResult) -> str:
    """A section with a table, sentences on what does not pass, and their items."""
    return "\n".join([*_markdown(result), ""])


def _markdown(result: GateResult) -> Iterator[str]:
    """The lines of the Markdown file: the verdict, a row a check, and of each that does not pass why."""
    checkpoint, gate = markdown_escape(result.sides.checkpoint.label), markdown_escape(result.gate.name)
    yield f"## Gate {gate}: {checkpoint}"
    yield ""
    yield f"**{markdown_escape(headline(result))}** Against {markdown_escape(result.sides.against)}."
    yield ""
    yield "| task | reference | now | change | interval | asked | verdict |"
    yield "|---|---:|---:|---:|---|---|---|"
    for check in result.checks:
        found = check.bounds
        change = number(found.estimate, "+") if check.is_of_change else "-"
        verdict = check.verdict if check.verdict == PASSES else f"**{check.verdict}**"
        cells = (check.title, number(found.before), number(found.after), change, interval(check) or "-", asked(check))
        yield f"| {' | '.join([*map(markdown_escape, cells), verdict])} |"
    for check in result.checks:
        if check.verdict == PASSES:
            continue
        yield ""
        yield f"**{check.verdict}**: {markdown_escape(sentence(check))}"
        if check.broken:
            yield ""
            yield from (f"- {markdown_escape(item_line(item))}" for item in check.broken)
    yield ""
    yield " ".join(markdown_escape(said) for said in (*result.notes, *power_lines(result), how(result)))


def write_ci_files(result: GateResult, junit_file: str | None, markdown_file: str | None) -> None:
    """Write the files that were asked for.

    Args:
        result: What is told.
        junit_file: Path of the JUnit XML; None for none.
        markdown_file: Path of the Markdown; None for none. The summary of a GitHub job is added to.

    Raises:
        StorageError: one cannot be written.
    """
    if junit_file is not None:
        write_file(Path(junit_file).expanduser(), junit(result))
    if markdown_file is not None:
        path, before = Path(markdown_file).expanduser(), ""
        if os.environ.get(_SUMMARY) == markdown_file and path.is_file():
            before = path.read_text(encoding="utf-8", errors="replace")
        write_file(path, before + markdown(result))
