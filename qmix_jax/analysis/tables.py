"""Summaries of several groups as Markdown tables."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import FEWEST_SEEDS, Estimate
from qmix_jax.analysis.summary import Summary

_UNKNOWN = "-"
_MOST_NAMED = 3  # runs named in a warning
_SCORES = {"optimality": "optimality", "mean_return": "return"}  # columns, and what a page calls them
_FIGURES = """\
Figures are interquartile means over seeds (Agarwal et al. 2021) of the greedy policy's last evaluation; in brackets
are their 95% percentile bootstrap intervals over seeds; `-` is unknown. *Random actions*: their return from the same
starts; a run's gain is its return above that. *Optimality*: share of the best possible return, where that is known
and above 0. *Steps to 90% of its best*: environment steps of the first evaluation with 90% of the run's own best gain.
*Range over seeds*: interquartile range of the final {score}. *Kept its best*: share of runs that end with 95% of their
own best gain and did not diverge. These three are `-` where no run gains anything."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table without a final newline."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def figures_table(
    group_column: str, summaries: Sequence[Summary], folders: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return a table with a row of figures for each group; success rates only where they are known.

    The last column holds the groups' `folders`, by name, if there are any.
    """
    has_success = _has_success(summaries)
    header = [
        group_column,
        "runs",
        "final return",
        "random actions",
        "optimality",
        *(["success rate"] if has_success else []),
        "steps to 90% of its best",
        "range over seeds",
        "kept its best",
        "steps/s",
        "parameters",
        *(["folder"] if folders else []),
    ]
    rows = [
        [
            summary.group,
            f"{summary.runs}" + _troubles(summary),
            _cell(summary.final_return, _three_digits),
            _known(summary.random_return, _three_digits),
            _cell(summary.optimality, _three_digits),
            *([_cell(summary.solved, _percent)] if has_success else []),
            _cell(summary.steps_to_near_best, _whole),
            _known(summary.score_range, _three_digits),
            _known(summary.kept, _percent),
            _cell(summary.steps_per_second, _whole),
            _known(summary.parameters, _whole),
            *([f"`{folders[summary.group]}`"] if folders else []),
        ]
        for summary in summaries
    ]
    return markdown_table(header, rows)


def explain_figures(score: str) -> str:
    """Return what the columns of `figures_table` mean, as Markdown; `score` as from `score_name`."""
    return _FIGURES.format(score=_SCORES[score])


def seeds_table(records: Sequence[RunRecord]) -> str:
    """Return a table with a row for each run: seed, last evaluation, return of random actions, skipped updates."""
    return runs_table(["seed"], [[_seed(record)] for record in records], records)


def runs_table(header: Sequence[str], names: Sequence[Sequence[str]], records: Sequence[RunRecord]) -> str:
    """Return `seeds_table` with other first columns: their `header`, and the `names` of each run."""
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("mean_return", "return", _three_digits),
        ("optimality", "optimality", _three_digits),
        ("solved", "success rate", _percent),
        ("mean_length", "mean length (steps)", _one_digit),
    ]
    if all(np.isnan(record.evaluations["solved"]).all() for record in records):
        columns = [column for column in columns if column[0] != "solved"]
    header = [*header, *(title for _, title, _ in columns), "random actions", "updates skipped"]
    rows = []
    for first, record in zip(names, records, strict=True):
        last = [_known([np.nan, *record.evaluations[name]][-1], number) for name, _, number in columns]
        own = [_known(record.random_return, _three_digits), _share(record.skipped, record.updates)]
        rows.append([*first, *last, *own])
    return markdown_table(header, rows)


def _seed(record: RunRecord) -> str:
    return f"{record.seed}" + " (diverged)" * record.diverged


def questions_table(summaries: Sequence[Summary], reference: str | None) -> str:
    """Return a table of the usual questions about algorithms, with the figures that answer each.

    `reference` is the group that `advantage` is measured against, None without one.
    """
    final = "final score, minus that of " + reference if reference else "final return"
    has_success = _has_success(summaries)
    questions: list[tuple[str, str, Callable[[Summary], str]]] = [
        (
            "value decomposition",
            final,
            lambda row: _cell(row.advantage if reference else row.final_return, _three_digits),
        ),
        (
            "global coordination",
            "success rate; steps of an episode" if has_success else "steps of an episode",
            lambda row: (
                (f"{_cell(row.solved, _percent)}; " if has_success else "") + _cell(row.mean_length, _one_digit)
            ),
        ),
        (
            "stability",
            "range over seeds; kept its best",
            lambda row: f"{_known(row.score_range, _three_digits)}; {_known(row.kept, _percent)}",
        ),
        (
            "sample efficiency",
            "steps to 90% of its best; mean score while learning",
            lambda row: f"{_cell(row.steps_to_near_best, _whole)}; {_cell(row.mean_score, _three_digits)}",
        ),
        (
            "complexity",
            "parameters; steps/s",
            lambda row: f"{_known(row.parameters, _whole)}; {_cell(row.steps_per_second, _whole)}",
        ),
    ]
    rows = [[question, measure, *map(cell, summaries)] for question, measure, cell in questions]
    return markdown_table(["question", "measured by", *(summary.group for summary in summaries)], rows)


def overall_table(group_column: str, rows: Sequence[tuple[str, int, Estimate]]) -> str:
    """Return a table with a row for each group: its name, its runs on all tasks, and their interquartile mean."""
    cells = [[group, f"{runs}", _cell(score, _three_digits)] for group, runs, score in rows]
    return markdown_table([group_column, "runs", "score over all tasks"], cells)


def scores_table(scores: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return a table with a row for each task and a column for each group: `scores` by group, then by task."""
    tasks = dict.fromkeys(task for found in scores.values() for task in found)
    rows = [
        [task, *(_cell(found[task], _three_digits) if task in found else _UNKNOWN for found in scores.values())]
        for task in tasks
    ]
    return markdown_table(["task", *scores], rows)


def improvement_table(groups: Sequence[str], better: Mapping[tuple[str, str], Estimate]) -> str:
    """Return a table of the probability that a run of the row's group is better than one of the column's."""
    rows = [
        [row, *(_UNKNOWN if row == column else _cell(better[row, column], _percent) for column in groups)]
        for row in groups
    ]
    return markdown_table(["better than", *groups], rows)


def find_warnings(records: Sequence[RunRecord], summaries: Sequence[Summary]) -> list[str]:
    """Return caveats about the tables, a line each."""
    found = few_seeds(min(summary.runs for summary in summaries)), some_skipped(records)
    return [warning for warning in found if warning is not None]


def few_seeds(runs: int) -> str | None:
    """Return a warning if a group has too few runs for meaningful intervals, else None."""
    if runs >= FEWEST_SEEDS:
        return None
    return (
        f"fewer than {FEWEST_SEEDS} seeds: intervals only span the lowest and the highest seed, and a single seed has "
        "none; differences may be due to chance"
    )


def some_skipped(records: Sequence[RunRecord]) -> str | None:
    """Return a warning if runs skipped updates, else None."""
    which = [f"{record.group}, seed {record.seed}" for record in records if record.skipped]
    if not which:
        return None
    more = f" and {len(which) - _MOST_NAMED} more" if len(which) > _MOST_NAMED else ""
    updates, skipped = (sum(getattr(record, name) for record in records) for name in ("updates", "skipped"))
    return (
        f"{_share(skipped, updates)} updates skipped, because they were not finite, in {len(which)} of {len(records)} "
        f"runs ({'; '.join(which[:_MOST_NAMED])}{more}): their policies may lack what large rewards teach"
    )


def _has_success(summaries: Sequence[Summary]) -> bool:
    """Whether the environment defines success."""
    return not all(np.isnan(summary.solved.value) for summary in summaries)


def _troubles(summary: Summary) -> str:
    diverged = [f"{summary.diverged} diverged"] if summary.diverged else []
    skipped = [f"{_share(summary.skipped, summary.updates)} updates skipped"] if summary.skipped else []
    return f" ({', '.join(diverged + skipped)})" if diverged or skipped else ""


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _cell(figure: Estimate, number: Callable[[float], str]) -> str:
    """Format a figure with its interval, if it has one; an end may be unknown."""
    value = _known(figure.value, number)
    if np.isnan(figure.value) or (np.isnan(figure.low) and np.isnan(figure.high)):
        return value
    return f"{value} [{_known(figure.low, number)}, {_known(figure.high, number)}]"


def _known(value: float, number: Callable[[float], str]) -> str:
    return _UNKNOWN if np.isnan(value) else number(value)


def _three_digits(value: float) -> str:
    return f"{value:z.3f}"


def _one_digit(value: float) -> str:
    return f"{value:z.1f}"


def _percent(value: float) -> str:
    return f"{value:z.0%}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
