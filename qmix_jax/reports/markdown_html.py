"""The Markdown that sweeps and comparisons write, as HTML: headings, tables, paragraphs, pictures, marks in text."""

import re
from collections.abc import Callable
from html import escape

from qmix_jax.reports.page import html_table

_MARKS = ((r"`([^`]+)`", r"<code>\1</code>"), (r"\*\*([^*]+)\*\*", r"<b>\1</b>"), (r"\*([^*]+)\*", r"<em>\1</em>"))


def blocks(markdown: str) -> list[str]:
    """Parts between empty lines."""
    return [block.strip() for block in re.split(r"\n\s*\n", markdown) if block.strip()]


def block_html(block: str, show_picture: Callable[[str, str], str]) -> str:
    """One part. `show_picture` makes HTML of a picture's file name and description."""
    if block.startswith("|"):
        header, _, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines())
        return html_table([header, *rows])
    if match := re.fullmatch(r"!\[([^]]*)\]\(([\w.-]+)\)", block):
        return show_picture(match[2], match[1])
    if match := re.fullmatch(r"#+ (.*)", block):
        return f"<h3>{_marked(match[1])}</h3>"
    return f"<p>{_marked(block)}</p>"


def _marked(text: str) -> str:
    """Text with its marks; between backquotes nothing else is one."""
    pieces = re.split(r"(`[^`]+`)", escape(text, quote=False))
    return "".join(_replaced(piece, _MARKS[:1] if piece.startswith("`") else _MARKS[1:]) for piece in pieces)


def _replaced(text: str, marks: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in marks:
        text = re.sub(pattern, replacement, text)
    return text
