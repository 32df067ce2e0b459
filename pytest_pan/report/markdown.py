"""The Markdown report: what a pull request's comment or a job's summary has room for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_pan.probes import table
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import Ran
from pytest_pan.records.limits import Verdict
from pytest_pan.records.measures import Measured
from pytest_pan.report import baseline as beside
from pytest_pan.report import terminal
from pytest_pan.report.outcomes import LEVELS, Level, audit_outcome, page_outcome

MARK = "<!-- pytest-pan -->"
"""First line, invisible when rendered: by it a bot finds its own comment to update."""

ROOM = 65_536
"""Characters that GitHub takes in a comment; counted here in bytes, of which there are no fewer."""

_CUT = 500
"""Bytes kept free for the line that says what was left out."""

_TEXT, _PARTIAL = 400, 4_000
"""Characters of one text from outside, and of the reasons why the run is incomplete."""

_PASSED, _NAMES = 25, 10
"""Passed limits in one block, and names listed with one reason."""

_ICONS: Mapping[Level, str] = {"fail": "❌", "warn": "⚠️", "none": "⚪", "pass": "✅"}
_ORDER = ("fail", "inconclusive", "pass")


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the page that stands or goes as a whole, and how many of what are in it."""

    text: str
    what: str
    count: int = 1


def render(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    command: str = "",
    ran: Ran | None = None,
) -> str:
    """The whole text: verdicts first, then the audits, worst first, as far as there is room."""
    found = sorted(audits, key=lambda audit: LEVELS.index(audit_outcome(audit).level))
    outcome = page_outcome(found, partial, ran)
    head = [MARK, f"## {_ICONS[outcome.level]} Padding audit: {outcome.text}"]
    if partial:
        head.append(f"**PARTIAL:** {code(partial, _PARTIAL)}")
    if not found:
        head.append("No audit ran.")
    if ran:
        head.append(ran.line())
    foot = " ".join(part for part in (created, code(command) if command else "") if part)
    blocks = [*_partials(found), *_verdicts(found), *map(_audit, found)]
    return _fitted("\n\n".join(head), blocks, f"<sub>{foot}</sub>" if foot else "")


def _fitted(head: str, blocks: Sequence[Block], foot: str) -> str:
    """All of it, or those blocks that fit, in their order, with a line that counts the others."""
    whole = _joined(head, *(block.text for block in blocks), foot)
    if _size(whole) <= ROOM:
        return whole
    room = ROOM - _size(_joined(head, foot)) - _CUT
    kept: list[str] = []
    lost: Counter[str] = Counter()
    for block in blocks:
        needed = _size(block.text) + 2
        if needed <= room:
            room -= needed
            kept.append(block.text)
        else:
            lost[block.what] += block.count
    total: Counter[str] = Counter()
    for block in blocks:
        total[block.what] += block.count
    counts = ", ".join(f"{lost[what]:,} of {total[what]:,} {what}" for what in total if lost[what])
    cut = f"**Cut to {ROOM:,} characters; left out: {counts}.** The other reports have them."
    return _joined(head, *kept, cut, foot)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _size(text: str) -> int:
    return len(text.encode())


def _partials(audits: Sequence[Audit]) -> Iterator[Block]:
    for audit in audits:
        if audit.partial:
            text = code(f"{_name(audit)}: {audit.partial}")
            yield Block(f"**PARTIAL:** {text}", "partial audits")


def _verdicts(audits: Sequence[Audit]) -> Iterator[Block]:
    """Each failed limit with its evidence folded; those that passed as lists."""
    every = [(_name(audit), verdict) for audit in audits for verdict in audit.verdicts]
    every.sort(key=lambda pair: _rank(pair[1]))
    for name, verdict in every:
        if verdict.outcome != "pass":
            yield Block(_finding(name, verdict), f"limits: {verdict.outcome}")
    passed = [f"- {_line(name, verdict)}" for name, verdict in every if verdict.outcome == "pass"]
    for start in range(0, len(passed), _PASSED):
        lines = passed[start : start + _PASSED]
        yield Block("\n".join(lines), "limits: pass", len(lines))


def _rank(verdict: Verdict) -> int:
    return _ORDER.index(verdict.outcome) if verdict.outcome in _ORDER else 1


def _finding(name: str, verdict: Verdict) -> str:
    line = _line(name, verdict)
    if not verdict.evidence:
        return f"- {line}"
    return _folded(line, "\n".join(f"- {code(evidence)}" for evidence in verdict.evidence))


def _line(name: str, verdict: Verdict) -> str:
    """The terminal's own words, with the model's name."""
    outcome, _, rest = terminal.verdict_line(verdict).partition(" ")
    basis = f"; {verdict.basis}" if verdict.basis else ""
    return f"<b>{outcome}</b> {code(f'{name}: {rest}{basis}')}"


def _audit(audit: Audit) -> Block:
    parts = [
        f"### {code(_name(audit))}",
        f"{terminal.extent(audit)}; {audit_outcome(audit).text}",
        _measures(audit),
        *_probe_lines(audit),
        _beside(audit),
        "\n".join(f"- note: {code(note)}" for note in audit.notes),
        _not_examined(audit),
    ]
    return Block("\n\n".join(part for part in parts if part), "audits")


def _measures(audit: Audit) -> str:
    """A row a measure; columns for bounds and for random neurons where any has them."""
    declared = [m.name for m in table.measures() if m.name in audit.measures]
    names = dict.fromkeys([*declared, *audit.measures])
    found = [audit.measures[name] for name in names]
    columns = {
        "measure": [code(m.measure) for m in found],
        "value": [table.text(m.measure, m.value) for m in found],
        "95 % interval": [_interval(m) for m in found],
        "from, to": [_bounds(m) for m in found],
        "random neurons": [_draws(m) for m in found],
    }
    used = {title: cells for title, cells in columns.items() if any(cells)}
    if not found:
        return ""
    rows = ["| " + " | ".join(cells) + " |" for cells in zip(*used.values(), strict=True)]
    heads = ["| " + " | ".join(used) + " |", "|---" + "|---:" * (len(used) - 1) + "|"]
    return "\n".join([*heads, *rows])


def _probe_lines(audit: Audit) -> Iterator[str]:
    for probe in table.PROBES:
        yield "\n".join(_escaped(line) for line in probe.markdown(audit))


def _interval(measured: Measured) -> str:
    ends = measured.interval or ()
    return " to ".join(table.text(measured.measure, end) for end in ends)


def _beside(audit: Audit) -> str:
    """How it compares with its baseline, what changed folded."""
    if audit.baseline is None:
        return ""
    head = code(beside.headline(audit.baseline))
    lines = [f"- {code(line)}" for line in beside.lines(audit.baseline)]
    return _folded(head, "\n".join(lines)) if lines else head


def _bounds(measured: Measured) -> str:
    ends = measured.bounds or ()
    return ", ".join(table.text(measured.measure, end) for end in ends)


def _draws(measured: Measured) -> str:
    draws = measured.control.draws if measured.control else ()
    return ", ".join(table.text(measured.measure, draw) for draw in draws)


def _not_examined(audit: Audit) -> str:
    reasons: dict[str, list[str]] = {}
    for skip in audit.skips:
        reasons.setdefault(skip.why, []).append(skip.what)
    if not reasons:
        return ""
    lines = []
    for why, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        listed = ", ".join(code(name) for name in names[:_NAMES])
        lines.append(f"- {len(names):,} {code(why)}: {listed}{more}")
    return _folded(f"not examined: {len(audit.skips):,}", "\n".join(lines))


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _name(audit: Audit) -> str:
    return str(audit.model.get("name") or "model")


_SPECIAL = re.compile(
    r"""[&<>"'|`*\[\]\\~$]"""  # HTML's and Markdown's own
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; inside a word it is none
    r"|:(?=//)|(?<=www)\.",  # what turns an address into a link
    re.IGNORECASE,
)


def code(text: str, room: int = _TEXT) -> str:
    """A text from outside as code on one line, the same in Markdown, in a table and in HTML.

    Whatever means something there is a character reference, which no parser takes for structure;
    in code an ``@name`` calls nobody and ``#1`` links to nothing. Control characters are shown as
    escapes, and a text longer than ``room`` is cut with a word on it.
    """
    line = " ".join(text.split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    over = len(plain) - room
    cut = f" … {over:,} characters more" if over > 0 else ""
    return f"<code>{_escaped(plain[:room])}{cut}</code>"


def _escaped(text: str) -> str:
    """The text with a character reference for whatever means something in Markdown or HTML."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)
