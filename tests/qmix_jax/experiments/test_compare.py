"""`qmix-jax compare`: what it accepts, how its runs end, and one small comparison for real."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from finished_run import save_run
from saved_run import listing

from qmix_jax import compare
from qmix_jax.config import Config
from qmix_jax.errors import DivergedError, StoppedError
from qmix_jax.experiments import capacity, jobs, start
from qmix_jax.experiments.comparison_spec import COMPARISON, ComparisonSettings
from qmix_jax.experiments.experiment import experiment_from_flags, flag_words, read_experiment, write_experiment
from qmix_jax.experiments.jobs import InProcess, group_jobs, read_group
from qmix_jax.experiments.launcher import Outcome
from qmix_jax.experiments.outcomes import Run, last_row, read_status
from qmix_jax.experiments.plan import group_members
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.runs.baselines import play_random
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.hparams import describe_run, write_hparams
from qmix_jax.storage.lock import RunLock
from qmix_jax.training.environments import make_environment

ROOT = Path(__file__).parents[3]
TINY = (
    "--num_envs 4 --total_steps 80 --max_steps_per_ep 10 --min_buffer_size 16 --batch_size 4 --hidden_sizes 4 "
    "--eval_interval 40 --eval_episodes 1 --buffer_capacity 100"
).split()

FLAGS = [
    ("--algorithms qmix dqn", "--algorithms dqn:"),
    ("--algorithms vdn qmix vdn", "--algorithms vdn qmix vdn:"),
    ("--algorithms", "--algorithms:"),
    ("--num_seeds 0", "--num_seeds 0:"),
    ("--num_seeds many", "--num_seeds many:"),
    ("--workers 0", "--workers 0:"),
    ("--workers 100000", "--workers 100000:"),
    ("--algorithm qmix", "--algorithm qmix:"),
    ("--seed x", "--seed x:"),
    ("--lr 0", "--lr 0:"),
    ("--batch_size 200000", "--batch_size 200000:"),
    ("--preset fast", "--preset fast:"),
    ("--total_steps 9 --total_episodes 9", "--total_steps 9 and --total_episodes 9:"),
    ("--run_directory x", "--run_directory:"),
    ("--num_sed 2", "--num_sed:"),
    ("--results_dir taken", "--results_dir taken:"),
    ("--resume nothing", "--resume nothing:"),
    ("--resume nothing --lr 0.1", "--lr 0.1:"),
    ("--resume nothing --algorithms qmix vdn", "--algorithms qmix vdn:"),
]
EDITS = [
    ({"format": 5}, "format must be 4"),
    ({"format": 2, "algorithms": ["qmix", "qplex"]}, "qplex is another algorithm now"),
    ({"algorithms": "qmix"}, "--algorithms qmix: must be a tuple"),
    ({"algorithms": ["dqn"]}, "--algorithms dqn: did you mean madqn? must be one of"),
    ({"num_seeds": True}, "--num_seeds True: must be a whole number"),
    ({"workers": ...}, "must hold num_seeds, workers, memory_limit, algorithms and flags"),
    ({"more": 1}, "must hold num_seeds, workers, memory_limit, algorithms and flags"),
    ({"flags": ...}, "flags must be texts by name"),
    ({"flags": {"nothing": "1"}}, "--nothing: not a valid flag and value"),
    ({"flags": {"algorithm": "vdn"}}, "--algorithm: not a valid flag and value"),
    ({"flags": {"lr": 0.1}}, "--lr: not a valid flag and value"),
    ({"flags": {"hidden_sizes": "4"}}, "--hidden_sizes: not a valid flag and value"),
    ({"flags": {"lr": "0"}}, "--lr 0: must be a number"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    return tmp_path


@pytest.fixture
def refusal(folder, capsys):
    def refuse(*arguments):
        before = listing(folder)
        assert compare.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert listing(folder) == before
        return err.partition("qmix-jax compare: error: ")[2]

    return refuse


@pytest.mark.parametrize(("line", "expected"), FLAGS, ids=[line for line, _ in FLAGS])
def test_bad_flags_are_refused_before_anything_is_written(refusal, line, expected):
    assert expected in refusal(*line.split())


@pytest.mark.parametrize(("changes", "expected"), EDITS, ids=[str(changes) for changes, _ in EDITS])
def test_edited_settings_are_refused(folder, refusal, changes, expected):
    write_experiment(folder, experiment_from_flags(COMPARISON, {}))
    path = folder / "configs" / "compare.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    message = refusal("--resume", ".")
    assert message.startswith("--resume .: ")
    assert expected in message


def test_a_link_is_not_followed(folder, refusal):
    write_experiment(folder, experiment_from_flags(COMPARISON, {}))
    (folder / "qmix").symlink_to("/")
    assert "'qmix' is not a plain file or folder" in refusal("--resume", ".")


def test_settings_come_back(tmp_path):
    given = experiment_from_flags(
        COMPARISON, {"algorithms": ["vdn", "iql"], "num_seeds": " 2", "preset": "random", "hidden_sizes": [" 8"]}
    )
    write_experiment(tmp_path, given)
    assert read_experiment(COMPARISON, tmp_path) == given
    assert given.settings == ComparisonSettings(2, None, None, ("vdn", "iql"))


def test_every_run_has_its_folder_and_an_algorithms_runs_share_a_program():
    """Its process reads back the same settings."""
    given = {"algorithms": ["vdn", "iql"], "num_seeds": "2", "results_dir": "-x", "lr": " 1e-4", "seed": "3"}
    members = experiment_from_flags(COMPARISON, given).members
    assert [member.folder for member in members] == ["vdn/seed_0", "vdn/seed_1", "iql/seed_0", "iql/seed_1"]
    assert [member.config.seed for member in members] == [3, 4, 3, 4]
    assert {(member.config.lr, member.config.results_dir) for member in members} == {(1e-4, "-x")}
    groups = group_members(members)
    assert [group.members for group in groups] == [members[:2], members[2:]]
    assert [read_group(job.text) for job in group_jobs(Path("-x/compare_1"), groups)] == groups


@pytest.mark.parametrize("flags", [{"num_devices": "2"}, {"keep_resumable": "1"}, {"checkpoint_replay": "false"}])
@pytest.mark.parametrize("kind", [COMPARISON, SWEEP])
def test_a_run_that_cannot_share_a_program_is_trained_alone(kind, flags):
    groups = group_members(experiment_from_flags(kind, {"num_seeds": "2", **flags}).members)
    assert all(group.alone and len(group.members) == 1 for group in groups)


@pytest.mark.parametrize(
    ("ends", "statuses"),
    [(DivergedError("x diverged"), [3]), (StoppedError(Path("x"), 15, "8 of 80 environment steps"), [])],
)
def test_how_a_run_alone_ends_in_this_process(monkeypatch, ends, statuses):
    """As in a process of its own: the others go on where it diverged, and none where a signal stopped it."""

    def train_job(*_):
        raise ends

    monkeypatch.setattr(jobs, "train_job", train_job)
    words = {"num_seeds": "1", "algorithms": ["vdn"], "keep_resumable": "1"}
    waiting = group_jobs(Path("none"), group_members(experiment_from_flags(COMPARISON, words).members))
    assert [outcome.status for outcome in InProcess(Path("none")).train(waiting, lambda: None)] == statuses


def test_settings_that_only_an_algorithm_tried_accepts_are_accepted():
    """The default, which is not tried, would refuse them."""
    sweep = experiment_from_flags(SWEEP, {"grid": ["replay=none"], "epochs": "2", "total_steps": "99"})
    assert sweep.members[0].config.epochs == 2


def test_words_are_read_as_the_texts_they_were():
    texts = {"results_dir": "--a b", "lr": "1e-3", "hidden_sizes": ["8", "4"]}
    assert flag_words(texts) == ["--results_dir=--a b", "--lr", "1e-3", "--hidden_sizes", "8", "4"]


def test_refusing_a_flag_does_not_wait_for_jax():
    code = "import qmix_jax.compare, sys; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


SKIPPING = 103  # stands for 3 of a run that has trained to its end, but skipped too many updates


class Processes:
    """Stands for WorkerPool: what becomes of each run is told beforehand, 0 where nothing is."""

    def __init__(self, statuses):
        self.statuses = statuses
        self.trained = []
        self.asked = None

    def __call__(self, workers, module):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def kill(self):
        return None

    def ask_to_stop(self, number):
        self.asked = number

    def train(self, jobs, stop_signal):
        for job in jobs:
            if self.asked:
                return
            status = self.statuses.get(job.name, 0)
            self.trained.append(job.name)
            save(Path("results/compare_1") / job.name, job.name, status)
            status = 3 if status == SKIPPING else status
            yield Outcome(job, status, f"train.py: error: reason {status}" if status > 0 else "")


def save(path, name, status):
    """Leave what a run leaves that ended so."""
    if status == 2:
        return
    model = {0: "final_model", SKIPPING: "final_model", 3: "diverged_ep5"}.get(status, "checkpoint_ep0")
    if path.exists():
        shutil.rmtree(path)
    run = save_run(path, [0.1, 0.9], model, skipped=9 if status == SKIPPING else 0)
    if not model.startswith("checkpoint"):
        run.diagnostics_plots.write_bytes(b"")  # comes last
    algorithm, _, seed = name.partition("/seed_")
    config = Config(algorithm=algorithm, seed=int(seed))
    write_hparams(run.hparams, describe_run(config, make_environment(config)))


@pytest.fixture
def outcome(folder, monkeypatch, capsys):
    """Compare vdn and iql over two seeds, runs ending as told. Returns status, stdout, stderr and what was trained.

    Two processes have a seed each.
    """
    monkeypatch.setattr("qmix_jax.experiments.findings.count_parameters", lambda config: 7)
    monkeypatch.setattr(capacity, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(start, "available_cores", lambda: [0, 1])

    def run(statuses, *arguments):
        processes = Processes(statuses)
        monkeypatch.setattr(start, "WorkerPool", processes)
        status = compare.main(arguments or "--algorithms vdn iql --num_seeds 2".split())
        return status, *capsys.readouterr(), processes.trained

    return run


def is_progress(line):
    return " runs ended, " in line


NAMES = ["vdn/seed_0", "vdn/seed_1", "iql/seed_0", "iql/seed_1"]
RESUME = ("--resume", "results/compare_1")


def test_all_runs_end_well(outcome, folder):
    status, out, err, trained = outcome({})
    assert (status, err) == (0, "")
    assert trained == NAMES
    lines = [line for line in out.splitlines() if not is_progress(line)]
    assert lines.pop(0) == "writing to results/compare_1"
    assert lines.pop(0).startswith("4 runs, 819200 environment steps together, in 4 groups of 1, 1, 1, 1 on ")
    assert lines.pop(0).startswith("memory: ")
    assert lines.pop(0).startswith("notice: --buffer_capacity 100000: rounded down")  # each once, not for every run
    assert lines[0] == "vdn/seed_0: optimality 0.900, return 1.800, success rate 90%, 18 s"
    assert lines[-2].startswith("warning: fewer than 5 seeds: ")
    assert lines[-1] == "comparison directory: results/compare_1"
    found = {path.name for path in (folder / "results" / "compare_1").iterdir()}
    assert found == {"configs", "vdn", "iql", "evaluations.csv", "summary.csv", "comparison.md", "curves.png"}
    page = (folder / "results" / "compare_1" / "comparison.md").read_text()
    assert "`qmix-jax compare --num_seeds 2 --algorithms vdn iql` on GridWorld25v0 (fixed)" in page
    assert f"**Warning**: {lines[-2].removeprefix('warning: ')}." in page
    random_return = np.mean([play_random(Config(seed=seed)) for seed in range(2)])
    assert f"| vdn | 2 | 1.800 [1.800, 1.800] | {random_return:.3f} | 0.900 [0.900, 0.900] |" in page
    assert "| value decomposition | final score, minus that of iql | 0.000 [0.000, 0.000] | - |" in page
    assert "| better than | vdn | iql |\n| --- | --- | --- |\n| vdn | - | 50% [50%, 50%] |" in page


def test_a_diverged_run_is_marked_and_the_others_go_on(outcome, folder):
    status, out, err, trained = outcome({"iql/seed_0": 3})
    assert status == 3
    assert err.endswith(": error: 1 of 4 runs diverged: iql/seed_0\n")
    assert len(trained) == 4
    assert "iql/seed_0: diverged, reason 3, optimality 0.900" in out
    assert "| iql | 2 (1 diverged) |" in (folder / "results" / "compare_1" / "comparison.md").read_text()
    status, _, _, trained = outcome({}, *RESUME)
    assert (status, trained) == (3, [])


def test_a_run_that_skipped_many_updates_is_whole_and_not_healthy(outcome, folder):
    """It has a final model, and is not trained again."""
    status, out, err, _ = outcome({"iql/seed_0": SKIPPING})
    assert status == 3
    assert err.endswith(": error: 1 of 4 runs diverged: iql/seed_0\n")
    page = (folder / "results" / "compare_1" / "comparison.md").read_text()
    assert "| iql | 2 (1 diverged, 9 of 80 updates skipped) |" in page
    for text in (out, page):
        assert "9 of 160 updates skipped, because they were not finite, in 1 of 4 runs (iql, seed 0): " in text
    status, _, _, trained = outcome({}, *RESUME)
    assert (status, trained) == (3, [])


def test_failed_runs_are_left_out_and_resumed(outcome, folder):
    status, out, err, trained = outcome({"iql/seed_0": -9, "vdn/seed_1": 1})
    assert status == 1
    assert len(trained) == 4
    assert "iql/seed_0: failed, ended by SIGKILL" in out
    assert "2 of 4 runs failed: vdn/seed_1 reason 1; iql/seed_0 ended by SIGKILL; to continue: --resume" in err
    page = folder / "results" / "compare_1" / "comparison.md"
    assert "**2 runs are missing**" in page.read_text()
    shutil.rmtree(folder / "results" / "compare_1" / "vdn" / "seed_0")
    status, _, err, trained = outcome({}, *RESUME)
    assert (status, err) == (0, "")
    assert trained == NAMES[:3]  # of which one had ended
    assert "missing" not in page.read_text()


def test_what_the_first_run_refuses_leaves_nothing(outcome, folder):
    status, out, err, trained = outcome({"vdn/seed_0": 2})
    assert (status, len(trained)) == (2, 1)
    before = ("writing to ", "4 runs, ", "memory: ", "notice: ")
    assert all(is_progress(line) or line.startswith(before) for line in out.splitlines())
    assert err.endswith(": error: vdn/seed_0: reason 2\n")
    assert not (folder / "results").exists()


def test_what_a_later_run_refuses_leaves_those_before(outcome, folder):
    status, _, err, trained = outcome({"iql/seed_0": 2})
    assert (status, len(trained)) == (2, 3)
    assert err.endswith(": error: iql/seed_0: reason 2\n")
    assert (folder / "results" / "compare_1" / "vdn" / "seed_0" / "models" / "final_model").is_dir()


def test_a_full_disk_ends_it(outcome, folder):
    status, _, err, trained = outcome({"iql/seed_0": 4})
    assert (status, len(trained)) == (4, 3)
    assert err.endswith(": error: iql/seed_0: reason 4\n")
    assert outcome({}, *RESUME)[0] == 0


def test_ctrl_c_says_how_to_go_on(outcome, monkeypatch):
    def interrupted(processes, jobs, stop_signal):
        signal.raise_signal(signal.SIGINT)
        while stop_signal() is None:  # a thread reads which signal came
            time.sleep(0.01)
        return iter([Outcome(jobs[0], 130, "stopped at 8 of 80 environment steps")])

    monkeypatch.setattr(Processes, "train", interrupted)
    status, _, err, _ = outcome({})
    assert status == 130
    assert err.endswith("stopped at 0 of 4 runs; to continue: qmix-jax compare --resume results/compare_1\n")


def test_runs_of_other_settings_are_refused(outcome, folder):
    outcome({})
    hparams = folder / "results" / "compare_1" / "iql" / "seed_1" / "configs" / "hparams.json"
    hparams.write_text(json.dumps(json.loads(hparams.read_text()) | {"lr": 0.5, "save_interval": 7}))
    status, _, err, trained = outcome({}, *RESUME)
    assert (status, trained) == (2, [])
    assert "--resume results/compare_1: iql/seed_1 was trained with --lr 0.5; must be 0.001" in err


def test_the_last_row_is_read_from_a_file_that_grows(tmp_path):
    log = tmp_path / "timing.csv"
    assert last_row(log) == {}
    rows = {
        "": {},
        "env_steps,seconds\n": {},
        "env_steps,seconds\n80,1.5\n160,2.5\n24": {"env_steps": 160, "seconds": 2.5},
        "env_steps,seconds\n" + "120,2\n" * 2_000 + "160,2.5\n24": {"env_steps": 160, "seconds": 2.5},
    }
    for text, expected in rows.items():
        log.write_text(text)
        assert last_row(log) == expected
    log.write_text("env_steps,solved\n80,\n")
    assert last_row(log) == {"env_steps": 80}


def test_how_far_runs_are_is_read_from_their_files(tmp_path):
    runs = [Run(name, Config(total_steps=1_000, num_envs=1), RunDirectory(tmp_path / name)) for name in "abcd"]
    assert read_status(runs) == (0, 0, 0, ())
    save_run(runs[0].directory.path, [0.9, 0.2], "final_model")
    save_run(runs[1].directory.path, [0.1, 0.5], "checkpoint_ep0")
    (runs[1].directory.path / "lock").write_text("")
    steps = int(last_row(runs[1].directory.timing)["env_steps"])
    assert read_status(runs) == (1_000 + steps, 1, 1, ("b", "optimality 50%", "success rate 50%"))
    rung = [run._replace(until=until) for run, until in zip(runs, (1_000, steps, 10, 10), strict=True)]
    assert read_status(rung)[:3] == (1_000 + steps, 2, 0)


def test_quiet_prints_nothing(outcome):
    status, out, err, trained = outcome({}, *"--algorithms vdn iql --num_seeds 2 --quiet".split())
    assert (status, out, err, len(trained)) == (0, "", "", 4)


def test_a_small_comparison_for_real(folder, monkeypatch, capsys):
    """Two algorithms; then one run is deleted, and only that one is trained again."""
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert compare.main(["--algorithms", "vdn", "iql", "--num_seeds", "1", "--workers", "1", *TINY]) == 0
    where, plan, memory, notice, *out = capsys.readouterr().out.splitlines()
    assert where == "writing to results/compare_1"
    assert (plan[:7], memory[:7]) == ("2 runs,", "memory:")
    assert notice.startswith("notice: --total_steps 80: too small for these settings")
    assert out[0] == "compiling, 0 of 2 runs ended, 0 running, 2 waiting"
    progress = list(filter(is_progress, out))
    assert ", 2 of 2 runs ended, 0 running, best so far " in progress[-1]
    others = [line.partition(":")[0] for line in out if line not in progress]
    assert others == ["vdn/seed_0", "iql/seed_0", "warning", "comparison directory"]
    path = folder / "results" / "compare_1"
    merged = (path / "evaluations.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in merged[1:]] == [
        [algorithm, "0", steps] for algorithm in ("vdn", "iql") for steps in ("40", "80")
    ]
    for algorithm in ("vdn", "iql"):
        assert (path / algorithm / "seed_0" / "models" / "final_model").is_dir()
        assert (path / algorithm / "seed_0" / "training_plots.png").is_file()
    kept = listing(path / "iql")
    log = path / "vdn" / "seed_0" / "evaluation_log.csv"
    evaluated = log.read_bytes()
    shutil.rmtree(path / "vdn")
    assert compare.main(RESUME) == 0
    out = [line for line in capsys.readouterr().out.splitlines() if not is_progress(line)]
    assert out.pop(0) == "writing to results/compare_1"
    others = ["notice", "vdn/seed_0", "warning", "comparison directory"]
    assert [line.partition(":")[0] for line in out[2:]] == others
    assert listing(path / "iql") == kept
    assert log.read_bytes() == evaluated


def test_two_comparisons_of_one_folder_are_refused(outcome):
    outcome({})
    with RunLock(Path("results/compare_1")):
        status, _, err, _ = outcome({}, *RESUME)
    assert (status, err.count("\n")) == (2, 1)
    assert "must not be in use" in err
