"""What is shown of runs: fields by fields, whatever shows them."""

import numpy as np
import pytest

from qmix_jax.runs.progress import GroupProgress, GroupStatus, Progress, evaluation_fields
from qmix_jax.storage.logs import EpisodeRows
from qmix_jax.types import EpisodeLog, UpdateMetrics

DIAGNOSTICS = {"updates": 900.0, "skipped": 0.0}
NAN = float("nan")


def rows(*returns):
    count = len(returns)
    ones = np.ones(count, np.float32)
    return EpisodeRows(np.arange(count), np.float32(returns), 5 * np.ones(count, int), ones, ones, ones, ones)


def log(*losses):
    """A chunk's log; what the rows tell is left out."""
    updates = UpdateMetrics(*[np.float32(losses)] * len(UpdateMetrics._fields))
    epsilon = np.full(len(losses), 0.5, np.float32)
    return EpisodeLog(None, None, None, epsilon, None, None, updates, np.int32([loss > 0.0 for loss in losses]))


@pytest.fixture
def lines(capsys):
    """Record chunks of a run of 1,000 steps and return the lines that are printed."""

    def record(*chunks, quiet=False):
        with Progress(1_000, quiet=quiet) as progress:
            progress.start()
            for chunk in chunks:
                progress.record(*chunk)
        out, err = capsys.readouterr()
        assert err == ""
        return out.splitlines()

    return record


def test_a_line_at_the_start_after_the_first_chunk_and_for_every_evaluation(lines):
    first, *others = lines(
        (200, log(NAN), rows(), None, DIAGNOSTICS),
        (400, log(0.5, 0.125), rows(), None, DIAGNOSTICS),
        (800, log(0.25), rows(1.0, 2.0), {"optimality": 0.96, "solved": 0.5}, DIAGNOSTICS | {"skipped": 12.0}),
        (1_000, log(0.0), rows(3.0), {"optimality": -0.001, "solved": NAN}, DIAGNOSTICS),
    )
    assert first == "compiling"
    parts = [line.split(", ") for line in others]
    assert [part[0] for part in parts] == [
        "200 of 1,000 steps (20%)",
        "800 of 1,000 steps (80%)",
        "1,000 of 1,000 steps (100%)",
    ]
    for part in parts:
        assert part[1].endswith(" steps/s")
        assert part[2].startswith("ETA ")
    assert [part[3:] for part in parts] == [
        ["epsilon 0.50"],
        ["return 1.50", "optimality 96%", "success rate 50%", "12 of 900 updates skipped", "epsilon 0.50", "loss 0.25"],
        ["return 2.00", "optimality 0%", "epsilon 0.50", "loss 0.25"],
    ]


def test_the_return_stands_for_an_optimality_that_makes_no_sense():
    row = {"optimality": NAN, "mean_return": -9.05, "solved": 0.25}
    assert evaluation_fields(row) == ["greedy return -9.05", "success rate 25%"]
    assert evaluation_fields({"mean_return": 2.0}) == ["greedy return 2.00"]


def test_the_return_is_that_of_recent_episodes(lines):
    seen = {"optimality": NAN, "mean_return": 0.0, "solved": NAN}
    chunks = (
        (400, log(0.125), rows(*[9.0] * 500), seen, DIAGNOSTICS),
        (800, log(0.1), rows(*[1.0] * 100), seen, DIAGNOSTICS),
    )
    assert "return 1.00" in lines(*chunks)[-1].split(", ")


def test_quiet_is_silent(lines):
    assert lines((1_000, log(0.125), rows(1.0), None, DIAGNOSTICS), quiet=True) == []


def test_a_group_tells_its_runs_and_the_best_of_them(capsys):
    """It looks by itself: a line whenever a run has ended."""
    seen = [GroupStatus(0, 0, 0, ())]
    with GroupProgress(1_000, 4, lambda: seen[-1]) as progress:
        for status in (
            GroupStatus(0, 0, 2, ()),
            GroupStatus(300, 0, 2, ()),
            GroupStatus(500, 1, 2, ("lr=0.001 seed_0", "optimality 90%")),
        ):
            seen.append(status)
            progress.refresh()
        progress.say("vdn/seed_0: done")
        progress.count_failed(1)
        seen.append(GroupStatus(800, 2, 1, ()))
        progress.refresh()
    out, err = capsys.readouterr()
    assert err == ""
    first, news, said, last = out.splitlines()
    assert first == "compiling, 0 of 4 runs ended, 0 running, 4 waiting"
    assert news.startswith("500 of 1,000 steps (50%), ")
    assert news.endswith(", 1 of 4 runs ended, 2 running, 1 waiting, best so far lr=0.001 seed_0, optimality 90%")
    assert said == "vdn/seed_0: done"
    assert last.endswith(", 2 of 4 runs ended, 1 running, 1 failed")


def test_a_group_that_is_through_does_not_compile(capsys):
    with GroupProgress(1_000, 1, lambda: GroupStatus(1_000, 1, 0, ())):
        pass
    assert capsys.readouterr().out == "1,000 of 1,000 steps (100%), 1 of 1 runs ended, 0 running\n"
