"""Processes side by side, as programs of a few lines."""

import os
import signal

import pytest

from qmix_jax.experiments import workers as members
from qmix_jax.experiments.workers import Job, Outcome, WorkerPool, available_cores, core_shares, signal_name

SAVING = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
open(sys.argv[1], "w").close()
time.sleep(60)
"""


@pytest.fixture
def program(monkeypatch):
    """Let members run a text as their program, the job's words as its arguments."""
    return lambda text: monkeypatch.setattr(members, "program_words", lambda module: ("-c", text))


def nothing():
    return None


def test_outcomes_with_the_last_line_of_what_went_wrong(program):
    program("import sys; print('a\\n\\nb: error: no\\n ', file=sys.stderr); sys.exit(int(sys.argv[1]))")
    jobs = [Job(f"job {status}", [str(status)]) for status in (0, 3)]
    with WorkerPool(1, "any") as processes:
        outcomes = list(processes.train(jobs, nothing))
    assert outcomes == [Outcome(jobs[0], 0, "b: error: no"), Outcome(jobs[1], 3, "b: error: no")]


def test_a_lot_of_output_stops_nobody(program):
    program("import sys; sys.stderr.write('x' * 1_000_000); print('y' * 1_000_000)")
    with WorkerPool(1, "any") as processes:
        (outcome,) = processes.train([Job("loud", [])], nothing)
    assert outcome.status == 0
    assert len(outcome.message) == 10_000


def test_workers_have_cores_of_their_own(program, tmp_path, monkeypatch):
    """Both run at once: each waits for the other's file."""
    program(
        "import os, sys, time\n"
        "open(sys.argv[1], 'w').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "print(sorted(os.sched_getaffinity(0)), file=sys.stderr)"
    )
    shares = core_shares(2) if len(available_cores()) > 1 else [{0}, {0}]
    monkeypatch.setattr(members, "core_shares", lambda workers: shares)
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    with WorkerPool(2, "any") as processes:
        outcomes = list(processes.train([Job("a", [here, there]), Job("b", [there, here])], nothing))
    assert {outcome.job.name: outcome.message for outcome in outcomes} == {
        "a": str(sorted(shares[0])),
        "b": str(sorted(shares[1])),
    }


def test_cores_are_shared_evenly(monkeypatch):
    monkeypatch.setattr(members, "available_cores", lambda: [0, 2, 3, 5, 7])
    assert core_shares(1) == [{0, 2, 3, 5, 7}]
    assert core_shares(2) == [{0, 2}, {3, 5}]
    assert core_shares(5) == [{0}, {2}, {3}, {5}, {7}]


def test_a_stop_is_passed_on_once_and_nothing_more_is_started(program, tmp_path):
    program(SAVING)
    begun = tmp_path / "begun"
    jobs = [Job("first", [str(begun)]), Job("second", [str(tmp_path / "second")])]
    with WorkerPool(1, "any") as processes:
        outcomes = list(processes.train(jobs, lambda: signal.SIGINT if begun.exists() else None))
    assert outcomes == [Outcome(jobs[0], 130, "")]
    assert not (tmp_path / "second").exists()


def test_a_killed_member_is_told_apart(program):
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with WorkerPool(1, "any") as processes:
        (outcome,) = processes.train([Job("killed", [])], nothing)
    assert outcome.status == -signal.SIGKILL
    assert signal_name(outcome.status) == "SIGKILL"
    assert signal_name(-200) == "signal 200"


def test_nobody_is_left_behind(program, tmp_path):
    program("import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(60)")
    begun = tmp_path / "begun"

    def fail():
        if begun.exists() and begun.read_text().endswith("\n"):
            raise RuntimeError("the check broke")

    with pytest.raises(RuntimeError), WorkerPool(1, "any") as processes:
        list(processes.train([Job("first", [str(begun)])], fail))
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
