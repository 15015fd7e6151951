"""Set the address that all notebooks install from: `python notebooks/set_source.py https://github.com/OWNER/NAME`.

It may also be a wheel's. A repository's address is then in the notebooks' badges, too. Until then a badge opens Colab's
start page, from where a notebook can be uploaded, and a notebook installs a wheel that lies beside it, or the checkout
around it.
"""

import json
import re
import sys
from pathlib import Path

_BADGE_LINK = re.compile(r"(?<=colab-badge\.svg\)\]\()[^)]*")
_SOURCE = re.compile(r'(?<=^SOURCE = ")[^"]*(?=")')
_REPOSITORY = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")
_WHEEL = re.compile(r"https://[\w./%+~-]+/qmix_jax-[\w.+-]+\.whl")


def set_source(notebook: Path, address: str) -> None:
    """Let one notebook install from `address`, and its badge open it from there if that is a repository.

    Raises:
        ValueError: the address is neither that of a GitHub repository nor that of a wheel.
    """
    repository = _REPOSITORY.fullmatch(address)
    if repository is None and _WHEEL.fullmatch(address) is None:
        raise ValueError(f"{address}: must be https://github.com/OWNER/NAME, or the https address of a qmix_jax wheel")
    source, colab = address, "https://colab.research.google.com/"
    if repository is not None:
        source = f"git+https://github.com/{repository[1]}"
        colab += f"github/{repository[1]}/blob/main/notebooks/{notebook.name}"
    document = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in document["cells"]:
        lines = [_BADGE_LINK.sub(colab, line) for line in cell["source"]]
        cell["source"] = [_SOURCE.sub(lambda _: source, line) for line in lines]
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
    notebook.write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Set the address in all notebooks beside this file."""
    if len(arguments) != 1:
        print(f"usage: python {Path(__file__).name} https://github.com/OWNER/NAME", file=sys.stderr)
        return 2
    try:
        for notebook in sorted(Path(__file__).parent.glob("*.ipynb")):
            set_source(notebook, arguments[0])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
