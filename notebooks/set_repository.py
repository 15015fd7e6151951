"""Name the published repository in every notebook: `python notebooks/set_repository.py https://github.com/OWNER/NAME`.

Until then a badge opens Colab's start page, from where a notebook can be uploaded, and the install cell takes the
checkout that the notebook lies in.
"""

import json
import re
import sys
from pathlib import Path

_BADGE_LINK = re.compile(r"(?<=colab-badge\.svg\)\]\()[^)]*")
_SOURCE = re.compile(r'(?<=^SOURCE = ")[^"]*(?=")')
_REPOSITORY = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")


def set_repository(notebook: Path, address: str) -> None:
    """Point one notebook's badge and install cell to the repository at `address`.

    Raises:
        ValueError: the address is not that of a GitHub repository.
    """
    match = _REPOSITORY.fullmatch(address)
    if match is None:
        raise ValueError(f"{address}: must be https://github.com/OWNER/NAME")
    name = match[1]
    colab = f"https://colab.research.google.com/github/{name}/blob/main/notebooks/{notebook.name}"
    document = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        lines = [_BADGE_LINK.sub(colab, line) for line in cell["source"]]
        cell["source"] = [_SOURCE.sub(f"git+https://github.com/{name}", line) for line in lines]
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
    notebook.write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Set the address in all notebooks beside this file."""
    if len(arguments) != 1:
        print(f"usage: python {Path(__file__).name} https://github.com/OWNER/NAME", file=sys.stderr)
        return 2
    try:
        for notebook in sorted(Path(__file__).parent.glob("*.ipynb")):
            set_repository(notebook, arguments[0])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
