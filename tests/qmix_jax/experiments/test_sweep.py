"""Whole sweeps: a normal run directory for each member, and the same bits however often it was killed."""

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from resumed import assert_same_run, wait_until

from qmix_jax import sweep as sweep_program
from qmix_jax.errors import ConfigError
from qmix_jax.experiments import capacity, workers
from qmix_jax.experiments.experiment import experiment_file, experiment_from_flags, read_experiment, write_experiment
from qmix_jax.experiments.group import split_uneven
from qmix_jax.experiments.plan import group_members, is_folder, point_folders
from qmix_jax.experiments.points import grid_points
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.experiments.workers import available_cores
from qmix_jax.storage.checkpoint import checkpoints, load_params
from qmix_jax.storage.hparams import read_config
from qmix_jax.storage.logs import read_log

ROOT = Path(__file__).parents[3]
FLAGS = (
    "--num_seeds 2 --grid lr=1e-3,5e-4 --num_envs 8 --total_steps 960 --max_steps_per_ep 20 --min_buffer_size 100 "
    "--batch_size 8 --hidden_sizes 16 --mixing_size 8 --hypernet_size 8 --eval_interval 80 --eval_episodes 4 "
    "--save_interval 8 --buffer_capacity 2000 --num_seeds 2"
).split()
ALONE = ["--workers", "1"]
SHARED = ["--workers", str(min(2, len(available_cores())))]
MEMBERS = [f"lr={lr}/seed_{seed}" for lr in ("0.001", "0.0005") for seed in range(2)]
KILLS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


def start(folder, *arguments):
    environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "qmix_jax.sweep", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sweep(folder, *arguments, status=0):
    """Return stdout and stderr of a sweep that ends with `status`."""
    process = start(folder, *arguments)
    out, err = process.communicate()
    assert process.returncode == status, err
    return out, err


@pytest.fixture(scope="module")
def whole(folder):
    """A sweep that nothing interrupted, and what it printed. Where there are two cores, two processes share it."""
    out, err = sweep(folder, *FLAGS, *SHARED, "--results_dir", "whole")
    assert err == ""
    return folder / "whole" / "sweep_1", out


def test_it_says_what_it_will_do_and_where(whole):
    path, out = whole
    notices = [line for line in out.splitlines() if line.startswith("notice: ")]
    assert len(set(notices)) == len(notices)  # each once, not for every run
    ended = [line for line in out.splitlines() if line.startswith("lr=")]
    assert sorted(line.partition(": optimality ")[0] for line in ended) == sorted(MEMBERS)
    where, first, memory, compiling, *progress, warning, best, last = (
        line for line in out.splitlines() if line not in notices + ended
    )
    assert where == "writing to whole/sweep_1"
    assert first.startswith("4 runs, 3840 environment steps together, in ")
    assert memory.startswith("memory: ")
    assert compiling == "compiling, 0 of 4 runs ended, 0 running, 4 waiting"
    assert progress[-1].startswith("3,840 of 3,840 steps (100%), ")
    assert ", 4 of 4 runs ended, 0 running, best so far lr=0.0" in progress[-1]
    assert warning.startswith("warning: fewer than 5 seeds: ")
    assert best.startswith("best: lr=0.0")
    assert best.endswith(" over 2 seed(s); all in whole/sweep_1/sweep.md")
    assert last == f"sweep directory: whole/{path.name}"


LONG = ",".join(f"env_args.argument_{number}=1" for number in range(5))[:100]


@pytest.mark.parametrize(
    ("grid", "folders"),
    [
        ([], [""]),
        (["lr=1e-3,5e-4", "hidden_sizes=64x32"], ["lr=0.001,hidden_sizes=64x32", "lr=0.0005,hidden_sizes=64x32"]),
        (["reward_scale=1e30"], ["reward_scale=1e_30"]),
        (["env_args.map=a/b,a_b,../x"], ["env_args.map=a_b", "env_args.map=a_b_2", "env_args.map=.._x"]),
        ([*(f"env_args.argument_{i}=1" for i in range(5)), "lr=1e-3,1e-4"], [LONG, f"{LONG[:94]}_2"]),
    ],
)
def test_folders_are_named_by_their_settings(grid, folders):
    """Letters, digits and ._=,- up to 100, and no two alike."""
    assert point_folders(grid_points(grid)) == folders
    assert all(map(is_folder, folders))


def test_an_older_sweep_keeps_its_numbered_folders(tmp_path):
    """Its file does not name them; and what it names must be folders inside it."""
    sweep = experiment_from_flags(SWEEP, {"grid": ["lr=1e-3,5e-4"]})
    write_experiment(tmp_path, sweep)
    assert read_experiment(SWEEP, tmp_path) == sweep
    path = experiment_file(tmp_path, SWEEP)
    content = json.loads(path.read_text())
    for folders in (["..", "b"], ["a/../..", "b"], ["a", "a"], ["a"], "ab", [1, 2]):
        path.write_text(json.dumps({**content, "folders": folders}))
        with pytest.raises(ConfigError, match="folders must be the names of 2 different folders"):
            read_experiment(SWEEP, tmp_path)
    del content["folders"]
    path.write_text(json.dumps(content))
    assert [member.folder for member in read_experiment(SWEEP, tmp_path).members] == [
        "point_0/seed_0",
        "point_1/seed_0",
    ]


def test_every_member_is_a_run_by_itself(whole):
    path, _ = whole
    configs = [read_config(path / member / "configs" / "hparams.json") for member in MEMBERS]
    assert [(config.lr, config.seed) for config in configs] == [(1e-3, 0), (1e-3, 1), (5e-4, 0), (5e-4, 1)]
    for member in MEMBERS:
        names = {file.name for file in (path / member).iterdir()}
        assert names >= {"training_plots.png", "diagnostics_plots.png", "training_log.csv", "timing.csv"}
        assert load_params(path / member)["agents"]
        assert not (path / member / "lock").exists()


def test_the_findings(whole):
    path, _ = whole
    with (path / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["settings"], row["seed"]) for row in rows} == {
        (f"lr={lr}", seed) for lr in ("0.001", "0.0005") for seed in "01"
    }
    with (path / "summary.csv").open() as file:
        summaries = list(csv.DictReader(file))
    scores = [float(row["final_return"]) for row in summaries]
    assert scores == sorted(scores, reverse=True)
    assert "| lr=0.001 | 2 |" in (path / "sweep.md").read_text()
    assert (path / "curves.png").stat().st_size > 10_000
    assert (path / "settings.png").stat().st_size > 10_000


def rows(page):
    return [line for line in page.read_text().splitlines() if line.startswith("| lr=")]


def owners(path):
    """Numbers of the processes that train members just now."""
    numbers = set()
    for lock in path.glob("lr=*/seed_*/lock"):
        with suppress(OSError, ValueError):
            numbers.add(json.loads(lock.read_text())["pid"])
    return numbers


def is_alive(number):
    return Path(f"/proc/{number}").exists()


@pytest.mark.slow  # CI kills a single run in the same way
def test_kills_at_any_moment_change_nothing(folder, whole):
    generator = random.Random(0)
    path = folder / "killed" / "sweep_1"
    process = start(folder, *FLAGS, *SHARED, "--results_dir", "killed")
    wait_until(process, (path / "configs" / "sweep.json").exists)  # from here on it can be resumed
    for number in range(KILLS):
        if number == 1:
            time.sleep(generator.uniform(0.0, 8.0))
        else:  # some members have written a checkpoint, and others have not
            known = set(path.glob("lr=*/seed_*/models/*.writing*"))
            wait_until(process, lambda known=known: set(path.glob("lr=*/seed_*/models/*.writing*")) - known)
        processes = owners(path)
        if number == 2:
            process.terminate()
            _, err = process.communicate()
            assert process.returncode == 143
            assert f"of 4 runs; to continue: python -m qmix_jax.sweep --resume {path}" in err
        else:
            process.kill()
            process.communicate()
        deadline = time.monotonic() + 30
        while any(map(is_alive, processes)):  # they end with the process that started them
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process = start(folder, "--resume", str(path))
    _, err = process.communicate()
    assert process.returncode == 0, err
    for member in MEMBERS:
        assert_same_run(path / member, whole[0] / member)
    tables = [[line.rsplit("|", 4)[0] for line in rows(folder / "sweep.md")] for folder in (path, whole[0])]
    assert tables[0] == tables[1]  # but for the steps/s


def test_members_go_on_from_the_newest_step_that_all_have(folder, whole):
    """Also where the number of processes changes, and so their groups."""
    path = Path(shutil.copytree(whole[0], folder / "uneven" / "sweep_1"))
    for member in MEMBERS:
        for name in ("final_model", "training_plots.png", "diagnostics_plots.png"):
            target = path / member / ("models" if name == "final_model" else "") / name
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    shutil.rmtree(checkpoints(path / MEMBERS[1] / "models")[0])
    before = sum(map(seconds, MEMBERS, [path] * 4))
    started = time.perf_counter()
    out, _ = sweep(folder, "--resume", str(path), *ALONE)
    elapsed = time.perf_counter() - started
    assert "in 1 group of 4 on 1 x cpu (cpu)\n" in out  # how many members a process has does not matter to any of them
    for member in MEMBERS:
        assert_same_run(path / member, whole[0] / member)
    assert sum(map(seconds, MEMBERS, [path] * 4)) - before < elapsed  # in turn, each counts its share


def seconds(member, path):
    return read_log(path / member / "timing.csv", ("seconds",))["seconds"][-1]


def test_members_without_a_checkpoint_in_common_are_groups_of_their_own(folder, whole):
    path = Path(shutil.copytree(whole[0], folder / "parts" / "sweep_1"))
    (group,) = group_members(read_experiment(SWEEP, path).members)
    for older in checkpoints(path / MEMBERS[1] / "models")[1:]:
        shutil.rmtree(older)
    shutil.rmtree(path / MEMBERS[2])
    shutil.rmtree(checkpoints(path / MEMBERS[3] / "models")[0])
    parts = [[member.folder for member in part.members] for part in split_uneven(group, path)]
    assert parts == [[MEMBERS[0], MEMBERS[1]], [MEMBERS[2]], [MEMBERS[3]]]


def test_runs_of_other_settings_are_refused(folder, whole, capsys):
    """Such as those that the sweep's preset had in an older version."""
    path = Path(shutil.copytree(whole[0], folder / "other" / "sweep_1"))
    hparams = path / MEMBERS[1] / "configs" / "hparams.json"
    content = json.loads(hparams.read_text()) | {"centre_rewards": False, "save_interval": 7}
    hparams.write_text(json.dumps(content))
    assert sweep_program.main(["--resume", str(path)]) == 2
    assert "was trained with --centre_rewards False; must be True" in capsys.readouterr().err
    assert json.loads(hparams.read_text()) == content


def test_a_member_whose_updates_are_not_finite_stands_still_and_the_others_go_on(folder):
    flags = ["--grid", "reward_scale=1e30,1", "--max_bad_updates", "5", *FLAGS[4:], *ALONE]
    _, err = sweep(folder, *flags, "--num_seeds", "1", "--results_dir", "bad", status=3)
    assert err.splitlines()[-1].endswith("error: 1 of 2 runs diverged: reward_scale=1e_30/seed_0")
    path = folder / "bad" / "sweep_1"
    assert list((path / "reward_scale=1e_30/seed_0/models").glob("diverged_ep*"))
    assert not (path / "reward_scale=1e_30/seed_0/models/final_model").exists()
    assert (path / "reward_scale=1.0/seed_0/models/final_model").exists()
    found = [line.split(" | ")[:2] for line in (path / "sweep.md").read_text().splitlines() if "reward_scale=1" in line]
    healthy, diverged = found[-2:]  # which comes last, whatever its last policy is worth
    assert healthy == ["| reward_scale=1.0", "1"]
    assert diverged[0] == "| reward_scale=1e+30"
    assert re.fullmatch(r"1 \(1 diverged, \d+ of \d+ updates skipped\)", diverged[1])


def test_too_little_memory_is_refused_before_anything_is_written(folder):
    _, err = sweep(folder, *FLAGS, "--memory_limit", "1e-6", "--results_dir", "small", status=2)
    assert "--memory_limit 1e-06: must be at least" in err
    assert not (folder / "small").exists()


def test_a_process_that_dies_is_named_and_the_sweep_goes_on(folder, whole, monkeypatch, capsys):
    """One share's members are gone, and its process cannot even start; then it can. The other one has ended."""
    monkeypatch.chdir(folder)
    path = Path(shutil.copytree(whole[0], folder / "broken" / "sweep_1"))
    written = read_experiment(SWEEP, path).shared_by(2)
    write_experiment(path, written)
    gone = capacity.plan_shares(written)[1][0].members
    for member in gone:
        shutil.rmtree(path / member.folder)
    program = workers.program_words
    monkeypatch.setattr(workers, "program_words", lambda module: ("-c", "import os; os.kill(os.getpid(), 9)"))
    assert sweep_program.main(["--resume", str(path)]) == 1
    assert (
        f"2 of 4 runs failed: {gone[0].folder} and 1 more ended by SIGKILL; to continue: --resume"
        in capsys.readouterr().err
    )
    assert f"| {gone[0].folder} and 1 more | ended by SIGKILL |" in (path / "sweep.md").read_text()
    monkeypatch.setattr(workers, "program_words", program)
    assert sweep_program.main(["--resume", str(path)]) == 0
    for member in MEMBERS:
        assert_same_run(path / member, whole[0] / member)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--workers", "0"], "--workers 0: must be a whole number, at least 1"),
        (["--workers", "9999"], "--workers 9999: must be at most "),
        (
            ["--coordinator", "auto"],
            "--coordinator: unknown flag; it is of `qmix-jax train`, for one run: for a sweep ",
        ),
    ],
)
def test_processes_that_cannot_be(tmp_path, monkeypatch, capsys, flags, line):
    monkeypatch.chdir(tmp_path)
    assert sweep_program.main([*FLAGS, *flags]) == 2
    assert line in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_as_many_processes_as_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(capacity, "available_cores", lambda: [*range(64)])
    monkeypatch.setattr(capacity, "device_memory", lambda: 8 * 2**30)
    assert capacity.count_workers(experiment_from_flags(SWEEP, {"num_seeds": "4"})) == 4
    assert capacity.count_workers(experiment_from_flags(SWEEP, {"num_seeds": "100"})) == 5
    assert capacity.count_workers(experiment_from_flags(SWEEP, {"num_seeds": "100", "workers": "64"})) == 64


def test_with_an_accelerator_there_is_one_process(monkeypatch):
    monkeypatch.setattr(capacity.jax, "default_backend", lambda: "gpu")
    four = experiment_from_flags(SWEEP, {"num_seeds": "4"})
    assert capacity.count_workers(four) == 1
    with pytest.raises(ConfigError, match="--workers 2: must be 1 where JAX has an accelerator"):
        capacity.count_workers(four.shared_by(2))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"format": 1}, "format must be 5, as this version writes it"),
        ({"workers": 5}, "--workers 5: must be at most 4, the runs there are"),
        ({"workers": 0}, "--workers 0: must be a whole number, at least 1"),
    ],
)
def test_edited_settings_are_refused(tmp_path, capsys, change, line):
    write_experiment(tmp_path, experiment_from_flags(SWEEP, {"num_seeds": "4"}).shared_by(2))
    path = experiment_file(tmp_path, SWEEP)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert sweep_program.main(["--resume", str(tmp_path)]) == 2
    assert line in capsys.readouterr().err
