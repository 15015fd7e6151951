"""Runs that were interrupted, compared with runs that were not."""

import time

import jax
import numpy as np

from qmix_jax.storage.checkpoint import checkpoints, load_params

EXACT = ("training_log.csv", "evaluation_log.csv", "diagnostics_log.csv")


def saved_state(run):
    newest = checkpoints(run / "models")[0]
    if not (newest / "resume.npz").exists():  # a suggestion that was pruned
        return newest.name, {}
    with np.load(newest / "resume.npz", allow_pickle=False) as file:
        return newest.name, dict(file)


def assert_same_run(run, whole):
    """Everything that a run leaves but clock times and pictures, bit by bit."""
    for name in EXACT:
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    (name, state), (expected_name, expected) = saved_state(run), saved_state(whole)
    assert name == expected_name
    assert state.keys() == expected.keys()
    for key, array in expected.items():
        assert array.dtype == state[key].dtype
        assert array.tobytes() == state[key].tobytes(), key
    models = {path.name for path in (whole / "models").iterdir()}
    assert models == {path.name for path in (run / "models").iterdir() if not path.name.endswith(".damaged")}
    for name in {"final_model", "best_model"} & models:  # orbax's own files hold clock times
        jax.tree.map(np.testing.assert_array_equal, load_params(run, name), load_params(whole, name))
    rows = (run / "timing.csv").read_text().count("\n")
    assert rows == (whole / "timing.csv").read_text().count("\n")


def wait_until(process, condition):
    deadline = time.monotonic() + 120
    while process.poll() is None and not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
