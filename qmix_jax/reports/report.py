"""Implementation of `report`: one HTML page about a run, a sweep or a comparison."""

import math
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from env_jax.types import Environment
from qmix_jax.config import Config
from qmix_jax.errors import DamagedError, RunError
from qmix_jax.reports.evaluate import Played, heading, play
from qmix_jax.reports.options import EvaluateOptions, ReportOptions
from qmix_jax.reports.page import (
    definitions,
    embedded,
    findings_page,
    html_page,
    html_table,
    output_name,
    picture,
    section,
    write_report,
)
from qmix_jax.reports.replay_data import can_show, page_data
from qmix_jax.reports.replay_page import make_page
from qmix_jax.reports.scores import figure_rows
from qmix_jax.settings import as_text
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import read_json, read_text
from qmix_jax.storage.hparams import read_config
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS, read_log


def report_run(run: RunDirectory, options: ReportOptions, given: Environment | None = None) -> None:
    """Write a run's page: evaluation, curves, diagnostics, replays and settings; `given` as for `play`.

    Raises:
        ConfigError: the run, its model or an option is invalid.
        RunError: a file of the run is damaged, or the page could not be written.
    """
    name = output_name(run.path, options)
    same = {name: getattr(options, name) for name in ("checkpoint", "env", "episodes", "seed")}
    chosen = EvaluateOptions(**same)
    try:
        config, hparams = read_config(run.hparams), read_json(run.hparams)
        played = play(run, chosen, given)
        sections = [
            section("Evaluation", html_table(figure_rows(played.figures)), hint=heading(played.document)),
            section("Learning curves", picture(run.plots, "Returns, loss, Q-values and epsilon over the run")),
            section("Diagnostics", _last_diagnostics(run), picture(run.diagnostics_plots, "Diagnostics over the run")),
            *_replays(played, options.replays),
            section("Settings", *_settings(config), hint="Those other than the defaults are bold."),
            section("Machine", *_machine(hparams)),
        ]
    except DamagedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {error.strerror}") from None
    title = f"{config.algorithm.upper()} on {played.document['environment']}"
    about = f"{run.path}: {config.env_steps:,} environment steps, {config.num_envs} environments, seed {config.seed}"
    write_report(name, html_page(title, about, sections))


def report_findings(markdown: Path, options: ReportOptions) -> None:
    """Write the page of a sweep or a comparison: its findings with their plots.

    Raises:
        ConfigError: the page cannot be written there.
        RunError: the findings are damaged, or the page could not be written.
    """
    name = output_name(markdown.parent, options)
    try:
        page = findings_page(read_text(markdown), markdown.parent, str(markdown.parent))
    except (DamagedError, ValueError):
        raise RunError(f"{markdown} does not hold findings") from None
    write_report(name, page)


def _replays(played: Played, most: int) -> list[str]:
    """Return a section with the replay page; none for environments it cannot draw."""
    if not can_show(played.assessment.environment):
        return []
    page = make_page(page_data(played.policy, played.assessment, most, played.document))
    return [section("Replays", embedded(page, "Replays"))]


def _last_diagnostics(run: RunDirectory) -> str:
    """Return the numbers of the log's last complete row; skipped updates are highlighted."""
    columns = read_log(run.diagnostics_log, DIAGNOSTIC_COLUMNS)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    known = [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]
    last: dict[str, float] = max(reversed(known), key=len, default={})
    bad = {"skipped"} if last.get("skipped") else set()
    return definitions([(name.replace("_", " "), _number(value), name in bad) for name, value in last.items()])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def _settings(config: Config) -> list[str]:
    html: list[str] = []
    values: list[tuple[str, str, bool]] = []
    for declared in reversed(fields(config)):
        value = getattr(config, declared.name)
        values.insert(0, (declared.name, "not set" if value is None else as_text(value), value != declared.default))
        if declared.metadata["group"]:
            html = [f"<h3>{declared.metadata['group']}</h3>{definitions(values)}", *html]
            values = []
    return html


def _machine(hparams: dict[str, Any]) -> list[str]:
    """Return device, versions and notices, as far as the file has them: it may have been edited."""
    groups = [hparams.get(group) for group in ("device", "versions", "derived")]
    entries = [entry for group in groups if isinstance(group, dict) for entry in group.items()]
    nested = [list(value.items()) if isinstance(value, dict) else [(name, value)] for name, value in entries]
    values = [(str(name), str(value), False) for parts in nested for name, value in parts]
    notices = hparams.get("notices")
    lines = notices if isinstance(notices, list) else []
    return [definitions(values), *(f'<p class="hint">{escape(str(notice))}</p>' for notice in lines)]
