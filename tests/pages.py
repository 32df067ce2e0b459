"""Readers of the page: a parser, a browser, and WCAG's contrast."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta", "input", "link", "br", "img", "hr"}


class Page(HTMLParser):
    """Tags with their attributes and the text inside each, in document order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.unclosed), data))

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if name in attrs]

    def inside(self, tag: str) -> list[str]:
        return [text for stack, text in self.texts if tag in stack]

    @property
    def text(self) -> str:
        return "".join(t for stack, t in self.texts if not {"style", "script"} & {*stack})


def browse(folder: Path, text: str, anchor: str = "") -> tuple[str, str]:
    """The page as Chromium has it after loading, and what it logged."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium to load the page in")
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--enable-logging=stderr --v=0 --dump-dom"
    )
    done = subprocess.run(
        [chromium, *flags.split(), f"--user-data-dir={folder / 'profile'}", path.as_uri() + anchor],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


def opened(dom: str) -> set[str]:
    tags = Page(dom).tags
    return {a["id"] for tag, a in tags if tag == "details" and "open" in a and "id" in a}


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two #rrggbb colours, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
        parts = [int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
