"""What `bench check` found as JUnit's XML: a suite for each device, a case for each measurement and limit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from host.ledger.guarding import Check, Checked, Judgement
from host.report.cells import replace_hidden
from host.report.output import open_text

_NO_CHARACTERS = re.compile("[\ufffe\uffff]")


def write_junit(check: Check, out: Path, *, is_strict: bool = False) -> None:
    """Write the report; a file appears only when it is whole.

    It has the elements that CI servers read: `testsuites`, `testsuite`, `testcase`, and in it `failure` or
    `skipped`. What nobody can tell is skipped, and a failure where that is to fail (`is_strict`).
    """
    root = ElementTree.Element("testsuites", name=f"bench check --baseline {check.baseline}")
    for device in dict.fromkeys(one.device for one in check.checked):
        own = [one for one in check.checked if one.device == device]
        root.append(_build_suite(device, own, is_strict))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, 0)) for suite in root)))
    ElementTree.indent(root)
    with open_text(out) as stream:
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        stream.write(ElementTree.tostring(root, encoding="unicode") + "\n")


def _build_suite(device: str, checked: Sequence[Checked], is_strict: bool) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_clean(device))
    for one in checked:
        suite.extend(_build_cases(one, is_strict))
    counts = {
        "tests": len(suite),
        "failures": len(suite.findall("testcase/failure")),
        "errors": 0,
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for key, count in counts.items():
        suite.set(key, str(count))
    return suite


def _build_cases(checked: Checked, is_strict: bool) -> Iterator[ElementTree.Element]:
    """A case for each limit; one case where no limit applies."""
    kept = Judgement(limit="measured", verdict="kept", text="no limit applies to it")
    for judged in checked.judgements or (kept,):
        name = f"{checked.variant} ({checked.settings}): {judged.limit}"
        case = ElementTree.Element(
            "testcase", classname=_clean(f"{checked.device}.{checked.model}"), name=_clean(name), time="0"
        )
        if judged.verdict == "broken" or (judged.verdict == "cannot tell" and is_strict):
            failure = ElementTree.SubElement(case, "failure", message=_clean(judged.text), type=judged.limit)
            failure.text = _clean(judged.text)
        elif judged.verdict == "cannot tell":
            ElementTree.SubElement(case, "skipped", message=_clean(f"cannot tell: {judged.text}"))
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(judged.text)
        yield case


def _clean(text: str) -> str:
    """Text that XML 1.0 can hold, and that no terminal obeys."""
    return _NO_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", replace_hidden(text, keep="\n\t"))
