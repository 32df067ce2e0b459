"""The table of ``zoo.py`` for docs/compatibility.md."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from zoo_check import Outcome


def summary(outcomes: list[Outcome]) -> str:
    """One line about all."""
    examined = [each for each in outcomes if each.sites]
    bad = [each.name for each in outcomes if not each.is_good]
    return (
        f"{len(outcomes)} architectures, {len(examined)} with sites, "
        f"{sum(each.sites for each in outcomes):,} sites, "
        f"{sum(each.neurons for each in outcomes):,} neurons, "
        f"{sum(each.labels for each in outcomes):,} labels; differ: {', '.join(bad) or 'none'}"
    )


def markdown(outcomes: list[Outcome]) -> str:
    """A table by family of what was examined, and one of the sentences of what was not."""
    examined: dict[str, list[Outcome]] = defaultdict(list)
    refused: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        if each.sites:
            examined[each.family].append(each)
        else:
            refused[_sentence_kind(each)].append(each)
    lines = [
        "| family | architectures | sites | 1x1, or no padding | also listed | labels "
        "| wrong or missed |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(family, group) for family, group in examined.items()]
    lines += ["", "| | nothing examined | sentence (of the first) |", "|---|---|---|"]
    for group in refused.values():
        names = ", ".join(_short(each) for each in group)
        sentence = _cell(group[0].refused or group[0].error)
        lines.append(f"| {len(group)} | {names} | {sentence} |")
    return "\n".join(lines) + "\n"


def _row(family: str, group: list[Outcome]) -> str:
    shown = group[0].name.partition(":")[2] if len(group) == 1 else f"{len(group)}"
    ordinary, others = 0, Counter[str]()
    for each in group:
        for why, count in each.skips.items():
            if why in ("1x1 kernel", "no padding"):
                ordinary += count
            else:
                others[_kind(why)] += count
    also = ", ".join(f"{count} {_cell(why)}" for why, count in others.items())
    wrong = sum(each.wrong + each.missed for each in group)
    return (
        f"| {family} | {shown} | {_total(each.sites for each in group)} | {ordinary:,} "
        f"| {also or '-'} | {_total(each.labels for each in group)} | {wrong} |"
    )


def _total(numbers: Iterable[int]) -> str:
    return f"{sum(numbers):,}"


def _short(one: Outcome) -> str:
    source, _, name = one.name.partition(":")
    return name if source == "torchvision" else f"{source} {name}"


def _kind(why: str) -> str:
    """A reason without the size of a map."""
    return "on too small a map" if re.match(r"map \d+x\d+ too small", why) else why


def _sentence_kind(one: Outcome) -> tuple[str, ...]:
    """What is alike in the sentences of several models: not their names, nor numbers."""
    said = re.sub(r"^\w+: |, got .*", "", one.refused or one.error, flags=re.DOTALL)
    reasons = {_kind(why) for why in one.skips} - {"1x1 kernel", "never called"}
    return said, *sorted(reasons)


def _cell(text: str) -> str:
    text = re.sub(r" at \S+?/(\w+\.py):\d+|, got images of shape .*", r"", text, flags=re.DOTALL)
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= 300 else text[:297] + "..."
