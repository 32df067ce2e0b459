"""Markdown report, sized for a pull request comment or a job summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_pan.probes import advice, table
from pytest_pan.records import summary
from pytest_pan.records.audit import Audit
from pytest_pan.records.completeness import RunSummary
from pytest_pan.records.limits import Verdict
from pytest_pan.records.measures import Measured
from pytest_pan.report import baseline, terminal
from pytest_pan.report.outcomes import LEVELS, Level, audit_outcome, page_outcome

MARK = "<!-- pytest-pan -->"
"""First line, invisible when rendered, by which a bot finds its comment to update."""

ROOM = 65_536
"""GitHub's limit on the characters of a comment; applied to bytes, which are never fewer."""

_CUT = 500
"""Bytes reserved for the line that lists what was left out."""

_TEXT, _PARTIAL = 400, 4_000
"""Maximum characters of one external text, and of the reason why the run is incomplete."""

_PASSED, _NAMES = 25, 10
"""Maximum number of passed limits per block, and of names listed per reason."""

_ICONS: Mapping[Level, str] = {"fail": "❌", "warn": "⚠️", "none": "⚪", "pass": "✅"}
_ORDER = ("fail", "inconclusive", "pass")


@dataclass(frozen=True, slots=True)
class Block:
    """Part of the report that is kept or dropped as a whole; it has ``count`` items of a kind."""

    text: str
    what: str
    count: int = 1


def render(
    audits: Sequence[Audit],
    *,
    partial: str = "",
    created: str = "",
    command: str = "",
    ran: RunSummary | None = None,
) -> str:
    """Render the report: verdicts, then audits, worst first, as far as they fit."""
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
    """Join all blocks, or those that fit and a line that counts the others."""
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
    cut = f"**Cut to {ROOM:,} characters; left out: {counts}.** See the other reports for these."
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
    """Yield each failed limit with folded evidence, and the passed limits as lists."""
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
    """Return the verdict as in the terminal, with the model's name."""
    outcome, _, rest = terminal.verdict_line(verdict).partition(" ")
    basis = f"; {verdict.basis}" if verdict.basis else ""
    return f"<b>{outcome}</b> {code(f'{name}: {rest}{basis}')}"


def _audit(audit: Audit) -> Block:
    parts = [
        f"### {code(_name(audit))}",
        f"{terminal.extent(audit)}; {audit_outcome(audit).text}",
        code(images) if (images := summary.images(audit)) else "",
        _measures(audit),
        *_probe_lines(audit),
        _baseline(audit),
        "\n".join(f"- advice: {code(line)}" for line in advice.lines(audit)),
        "\n".join(f"- note: {code(note)}" for note in audit.notes),
        _not_examined(audit),
    ]
    return Block("\n\n".join(part for part in parts if part), "audits")


def _measures(audit: Audit) -> str:
    """Return a table of the measures; columns that are empty for all measures are omitted."""
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


def _baseline(audit: Audit) -> str:
    """Return the comparison to the baseline, with the changes folded."""
    if audit.baseline is None:
        return ""
    head = code(baseline.headline(audit.baseline))
    lines = [f"- {code(line)}" for line in baseline.lines(audit.baseline)]
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
    r"""[&<>"'|`*\[\]\\~$]"""  # characters with a meaning in HTML or Markdown
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, except inside a word
    r"|:(?=//)|(?<=www)\.",  # what makes an address a link
    re.IGNORECASE,
)


def code(text: str, room: int = _TEXT) -> str:
    """Format an external text as code on one line, safe in Markdown, tables and HTML.

    Special characters become character references, so that no parser takes them for structure.
    Inside code, ``@name`` mentions nobody and ``#1`` is not a link. Control characters are escaped,
    and a text longer than ``room`` is cut and marked.
    """
    line = " ".join(text.split())
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    over = len(plain) - room
    cut = f" … {over:,} characters more" if over > 0 else ""
    return f"<code>{_escaped(plain[:room])}{cut}</code>"


def _escaped(text: str) -> str:
    """Replace characters with a meaning in Markdown or HTML by character references."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)
