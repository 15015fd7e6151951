"""Memory and open files that this process may have, and what is refused or split because of them."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments import capacity
from qmix_jax.experiments.experiment import experiment_from_flags
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.runs import compilation, descriptors, runner
from qmix_jax.storage.machine_memory import available_memory, format_bytes
from qmix_jax.training.environments import make_environment
from qmix_jax.training.replay import replay_bytes, transition_bytes

ROOT = Path(__file__).parents[3]
GIB = 2**30
UNLIMITED = "9223372036854771712\n"  # as version 1 writes it
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
# As many runs as fit, all of whose files are open at once and one of which writes its models.
HOLD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
import numpy as np
from qmix_jax.config import Config
from qmix_jax.runs.descriptors import fitting_runs
from qmix_jax.storage.lock import RunLock
from qmix_jax.runs.recorder import Recorder
from qmix_jax.storage.directory import make_run_directory

config = Config(tensorboard=True)
with ExitStack() as stack:
    writer = stack.enter_context(ThreadPoolExecutor(1))
    for number in range(fitting_runs(config)):
        directory = make_run_directory(Path(sys.argv[1]) / str(number), "--results_dir")
        stack.enter_context(RunLock(directory.path))
        recorder = stack.enter_context(Recorder(config, directory, (), quiet=True, writer=writer))
    recorder.start({"a": np.zeros(3)}, {"b": np.zeros(3)})
    recorder.wait()
    print(number + 1)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write files of control groups, by their paths below the root, and return what is available then."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def available(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return available_memory(tmp_path)

    return available


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MACHINE),
        # Version 2: in a container, its own group is the root of all.
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        # On the machine itself, the smallest of the group's own and those around it.
        (
            {
                "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
                "sys/fs/cgroup/slurm/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/slurm/job_7/memory.max": f"{2 * GIB}\n",
                "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n",
            },
            2 * GIB,
        ),
        # Version 1 beside an empty version 2, and a container that sees its own group as the root of all.
        (
            {
                "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}\n",
            },
            3 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "4:hugetlb,memory:/user/me\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
                "sys/fs/cgroup/memory/user/me/memory.limit_in_bytes": f"{GIB // 2}\n",
            },
            GIB // 2,
        ),
        ({"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED}, MACHINE),
        ({"proc/self/cgroup": "garbage\n0\n::\n4:memory:/../..\n"}, MACHINE),
    ],
)
def test_the_smallest_limit_of_control_groups_counts(machine, files, expected):
    assert machine(files) == expected


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_limits_of_the_shell_count(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(
        resource, "getrlimit", lambda asked: (GIB if asked == kind else resource.RLIM_INFINITY, 2 * GIB)
    )
    assert available_memory(tmp_path) == GIB
    monkeypatch.setattr(compilation, "available_memory", lambda: available_memory(tmp_path))
    assert compilation.device_memory() == GIB


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1024.0 KiB"),
        (2**20, "1.0 MiB"),
        (9_496_960, "9.1 MiB"),
        (23.5 * GIB, "23.5 GiB"),
        (5000 * 2**40, "5000.0 TiB"),
    ],
)
def test_sizes_have_a_unit_that_suits_them(size, text):
    assert format_bytes(size) == text


def check(monkeypatch, memory, sharing, **settings):
    """Ask for a run where the first device has so many bytes, which so many devices share."""
    monkeypatch.setattr(runner, "device_memory", lambda: memory)
    monkeypatch.setattr(runner, "sharing_devices", lambda: sharing)
    config = Config(buffer_capacity=4_000, num_envs=8, min_buffer_size=100, **settings)
    runner._check_fit(config, make_environment(config))


def test_each_accelerator_holds_its_share_of_the_replay_and_a_cpu_all_of_it(monkeypatch):
    whole = 4_000 * transition_bytes(make_environment(Config()).spec)
    check(monkeypatch, whole, sharing=1)
    check(monkeypatch, whole // 4, sharing=1, num_devices=4)
    check(monkeypatch, whole, sharing=4, num_devices=4)
    check(monkeypatch, whole // 2, sharing=2, num_devices=4)  # two processes of two CPU devices each
    for memory, devices, sharing in ((whole, 1, 1), (whole // 4, 4, 1), (whole, 4, 4)):
        with pytest.raises(ConfigError, match=r"--buffer_capacity 4000: needs \d+\.\d KiB, but only"):
            check(monkeypatch, memory - 1, sharing, num_devices=devices)


def test_the_tree_of_priorities_counts(monkeypatch):
    config = Config(buffer_capacity=4_000, num_envs=8, min_buffer_size=100, replay="prioritised")
    spec = make_environment(config).spec
    tree = 4 * (2 * 4_096 - 1)  # float32 nodes of a binary tree over 4,000 slots
    whole = 4_000 * transition_bytes(spec) + tree
    assert replay_bytes(config, spec) == whole
    check(monkeypatch, whole, sharing=1, replay="prioritised")
    with pytest.raises(ConfigError, match="--buffer_capacity 4000"):
        check(monkeypatch, whole - 1, sharing=1, replay="prioritised")


def limited(monkeypatch, files):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, resource.RLIM_INFINITY))


def sizes(sweep):
    return [[len(group.members) for group in groups] for groups in capacity.plan_shares(sweep)]


def test_groups_are_no_larger_than_files_that_may_be_open(monkeypatch):
    sweep = experiment_from_flags(SWEEP, {"num_seeds": "80", "memory_limit": "8"})
    limited(monkeypatch, 20_000)
    assert sizes(sweep) == [[80]]
    limited(monkeypatch, resource.RLIM_INFINITY)
    assert sizes(sweep) == [[80]]
    limited(monkeypatch, 256)  # 64 for all, and 5 for each of 38 runs
    assert sizes(sweep) == [[27, 27, 26]]
    assert sizes(sweep.shared_by(2)) == [[20, 20], [20, 20]]
    assert sizes(experiment_from_flags(SWEEP, {"num_seeds": "80", "memory_limit": "8", "tensorboard": "true"})) == [
        [27, 27, 26]
    ]
    limited(monkeypatch, 64 + 2 * 5)
    assert sizes(experiment_from_flags(SWEEP, {"num_seeds": "3", "memory_limit": "8"})) == [[2, 1]]
    limited(monkeypatch, 68)
    with pytest.raises(ConfigError, match="ulimit -n: must be at least 69, for the files of one run"):
        sizes(sweep)


def test_what_fits_can_be_open_at_once(tmp_path):
    """All runs that a process with so few descriptors takes, their logs, locks and dashboards, and a checkpoint."""
    command = ["prlimit", "--nofile=88", sys.executable, "-c", HOLD, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("4\n", 0), ended.stderr


def test_the_soft_limit_is_raised_to_the_hard_one(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4_096))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append((kind, limits)))
    descriptors.raise_limit()
    assert asked == [(resource.RLIMIT_NOFILE, (4_096, 4_096))]

    def refuse(kind, limits):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()


def test_memory_for_not_even_one_member_is_refused_by_the_flag_that_was_given(monkeypatch):
    monkeypatch.setattr(capacity, "device_memory", lambda: 2**20)
    with pytest.raises(ConfigError) as caught:
        sizes(experiment_from_flags(SWEEP, {"num_seeds": "2"}))
    size = capacity.member_bytes(Config())
    free = format_bytes(0.7 * 2**20 / capacity.sharing_devices())
    assert str(caught.value) == (
        f"--buffer_capacity 100000: one run takes {format_bytes(size)}, but only {free} are free"
    )
    with pytest.raises(ConfigError) as caught:
        sizes(experiment_from_flags(SWEEP, {"num_seeds": "2", "memory_limit": "0.001"}))
    assert str(caught.value).startswith("--memory_limit 0.001: must be at least ")
    least = str(caught.value).split()[6]
    assert sizes(experiment_from_flags(SWEEP, {"num_seeds": "2", "memory_limit": least}))
