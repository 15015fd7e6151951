"""HTML of a report: its elements, Markdown of findings, and the template that holds them in one file."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

from qmix_jax.reports.options import ReportOptions
from qmix_jax.storage.output_file import check_output_file, writing

_INCH = 100  # pixels of the page, for plots whose sizes are in inches
_MANY_COLUMNS = 7
_REMARK = re.compile(r"(.*\S) (\[.*\]|\(.*\))")
_MARKS = ((r"`([^`]+)`", r"<code>\1</code>"), (r"\*\*([^*]+)\*\*", r"<b>\1</b>"), (r"\*([^*]+)\*", r"<em>\1</em>"))


def html_page(title: str, about: str, sections: Sequence[str]) -> str:
    """Return the whole page; `title` and `about` are text, the sections HTML."""
    parts = {
        "title": escape(title),
        "style": package_text("page.css") + package_text("report_page.css"),
        "heading": escape(title),
        "about": escape(about),
        "sections": "\n".join(sections),
    }
    return fill_template("report_page.html", parts)


def section(title: str, *content: str, hint: str = "") -> str:
    """Return a card with a heading; `title` and `hint` are text, the content HTML."""
    note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(title)}</h2>{note}{''.join(content)}</section>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text cells with headers in the first row and the first column.

    Values between semicolons get a line each, and so does an interval or a remark in brackets behind a value.
    """
    header = rows[0]
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, header[1:], row[1:]))}</tr>' for row in rows[1:]
    )
    wide = " class=wide" if len(header) > _MANY_COLUMNS else ""
    return f"<table{wide}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(label: str, text: str) -> str:
    parts = "".join(f"<span>{_part(part)}</span>" for part in text.split("; "))
    return f'<td data-label="{escape(label)}"><div>{parts}</div></td>'


def _part(text: str) -> str:
    match = _REMARK.fullmatch(text)
    if match is None:
        return escape(text)
    value, remark = match.groups()
    return f"{escape(value)}<small>{escape(remark[1:-1] if remark.startswith('(') else remark)}</small>"


def definitions(values: Sequence[tuple[str, str, bool]]) -> str:
    """Return a list of names and values, which are text; marked ones are highlighted."""
    items = (
        f"<div{' class=marked' if marked else ''}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value, marked in values
    )
    return f"<dl>{''.join(items)}</dl>"


def picture(path: Path, description: str) -> str:
    """Return a PNG embedded into the page, as large as it was drawn, or a line of text if it cannot be read."""
    try:
        if path.is_symlink():
            raise OSError
        with Image.open(path, formats=["PNG"]) as image:
            density = image.info.get("dpi", (0.0, 0.0))[0] or _INCH
            width = max(1, round(image.width * _INCH / density))
        content = base64.b64encode(path.read_bytes()).decode()
    except (OSError, Image.DecompressionBombError):
        return f'<p class="hint">{escape(path.name)} was not drawn.</p>'
    source = f"data:image/png;base64,{content}"
    return f'<div class="picture scroll"><img src="{source}" width="{width}" alt="{escape(description)}"></div>'


def embedded(page: str, title: str) -> str:
    """Return another page embedded into this one, as high as its content."""
    grow = "this.style.height = this.contentDocument.body.scrollHeight + 24 + 'px'"
    return f'<iframe title="{escape(title)}" srcdoc="{escape(page)}" onload="{grow}"></iframe>'


def blocks(markdown: str) -> list[str]:
    """Split Markdown at empty lines."""
    return [block.strip() for block in re.split(r"\n\s*\n", markdown) if block.strip()]


def block_html(block: str, show_picture: Callable[[str, str], str]) -> str:
    """Return one Markdown block as HTML. `show_picture` takes a picture's file name and description."""
    if block.startswith("|"):
        header, _, *rows = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines())
        return html_table([header, *rows])
    if match := re.fullmatch(r"!\[([^]]*)\]\(([\w.-]+)\)", block):
        return show_picture(match[2], match[1])
    if match := re.fullmatch(r"#+ (.*)", block):
        return f"<h3>{_marked(match[1])}</h3>"
    return f"<p>{_marked(block)}</p>"


def _marked(text: str) -> str:
    """Return text with its inline markup; code spans hold no other markup."""
    pieces = re.split(r"(`[^`]+`)", escape(text, quote=False))
    return "".join(_replaced(piece, _MARKS[:1] if piece.startswith("`") else _MARKS[1:]) for piece in pieces)


def _replaced(text: str, marks: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in marks:
        text = re.sub(pattern, replacement, text)
    return text


def findings_page(markdown: str, pictures: Path, about: str) -> str:
    """Return the page of findings in Markdown, whose pictures are in the folder `pictures`.

    Raises:
        ValueError: the Markdown is empty.
    """
    title, *rest = blocks(markdown)
    html = [block_html(block, lambda file, text: picture(pictures / file, text)) for block in rest]
    return html_page(title.lstrip("# "), about, [f"<section>{''.join(html)}</section>"])


def output_name(folder: Path, options: ReportOptions) -> str:
    """Return the file to write, report.html in the folder by default.

    Raises:
        ConfigError: it cannot be written.
    """
    name = options.output or str(folder / "report.html")
    check_output_file("output", name)
    return name


def write_report(name: str, page: str) -> None:
    """Write the page and print its name; errors as for `writing`."""
    with writing(name) as path:
        path.write_text(page, encoding="utf-8")


def fill_template(name: str, parts: Mapping[str, str]) -> str:
    """Return a template with every `{{mark}}` replaced by its part. Parts come in the order of the marks."""
    page, done = package_text(name), ""
    for mark, part in parts.items():
        before, _, page = page.partition(f"{{{{{mark}}}}}")
        done += before + part
    return done + page


def package_text(name: str) -> str:
    """Return the content of a text file in this folder."""
    return files("qmix_jax.reports").joinpath(name).read_text(encoding="utf-8")
