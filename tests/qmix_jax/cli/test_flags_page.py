"""The documentation's page of all flags, which MkDocs fills when it builds the site."""

from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

from qmix_jax.__main__ import COMMANDS
from qmix_jax.config import Config
from qmix_jax.settings import accepted

DOCS = Path(__file__).parents[3] / "docs"
PAGE = "reference/flags.md"


@pytest.fixture(scope="module")
def hook():
    spec = spec_from_file_location("flags_page", DOCS / "flags_page.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(source):
    return SimpleNamespace(file=SimpleNamespace(src_uri=source))


def test_every_command_and_setting_is_listed(hook):
    text = hook.on_page_markdown((DOCS / PAGE).read_text(), page(PAGE))
    assert "<!--" not in text
    for command in COMMANDS:
        assert f"\n## qmix-jax {command}\n" in text
    for declared in fields(Config):
        assert f"\n- `--{declared.name} " in text
        assert accepted(declared) in text
    assert "\n- `--lr X`: initial learning rate (a number, above 0 and at most 1; default `0.001`)\n" in text
    assert "<i>" not in text


def test_other_pages_stay_as_they_are(hook):
    assert hook.on_page_markdown("<!-- flags -->", page("index.md")) == "<!-- flags -->"
