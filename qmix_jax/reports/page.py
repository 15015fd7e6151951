"""The report's page: HTML of its parts, and one file of a template, the replay page's style and its own."""

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path


def html_page(title: str, about: str, sections: Sequence[str]) -> str:
    """The whole page; `title` and `about` are text, the sections HTML."""
    parts = {
        "title": escape(title),
        "style": _part("replay_page.css") + _part("report_page.css"),
        "heading": escape(title),
        "about": escape(about),
        "sections": "\n".join(sections),
    }
    page = _part("report_page.html")
    done = ""
    for mark, part in parts.items():
        before, _, page = page.partition(f"{{{{{mark}}}}}")
        done += before + part
    return done + page


def section(title: str, *content: str, hint: str = "") -> str:
    """A card with a heading; `title` and `hint` are text, the content HTML."""
    note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(title)}</h2>{note}{''.join(content)}</section>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of text, the first row and the first column its heads."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows[1:]
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(values: Sequence[tuple[str, str, bool]]) -> str:
    """Names and values as text; what is marked stands out."""
    items = (
        f"<div{' class=marked' if marked else ''}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value, marked in values
    )
    return f"<dl>{''.join(items)}</dl>"


def picture(path: Path, description: str) -> str:
    """A PNG as a part of the page, or a line where there is none; a click shows it in full size."""
    if not path.is_file() or path.is_symlink():
        return f'<p class="hint">{escape(path.name)} was not drawn.</p>'
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return f'<div class="picture scroll"><img src="{source}" alt="{escape(description)}"></div>'


def embedded(page: str, title: str) -> str:
    """Another whole page within this one, as high as its content."""
    grow = "this.style.height = this.contentDocument.body.scrollHeight + 24 + 'px'"
    return f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" onload="{grow}"></iframe>'


def _part(name: str) -> str:
    return files("qmix_jax.reports").joinpath(name).read_text(encoding="utf-8")
