"""Logs of a run that was never trained: what tables, curves and comparisons read."""

from qmix_jax.storage.directory import make_run_directory
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS

EVALUATIONS = "env_steps,episode,mean_return,optimality,solved,mean_length,foods_collected\n"
TIMING = "env_steps,updates,episodes,seconds\n"
DIAGNOSTICS = ",".join(DIAGNOSTIC_COLUMNS) + "\n"


def save_run(path, optimality, model="final_model", seconds_per_chunk=2.0, skipped=0):
    """Write a run of chunks of 100 steps, evaluated at the end of every second one."""
    run = make_run_directory(path, "--run_directory")
    rows = [f"{200 * i},{i},{2 * x},{x},{max(x, 0)},{50 - i},{4 * x}\n" for i, x in enumerate(optimality, start=1)]
    run.evaluation_log.write_text(EVALUATIONS + "".join(rows).replace("nan", ""))
    chunks = range(1, 2 * len(optimality) + 1)
    run.timing.write_text(TIMING + "".join(f"{100 * i},{i},{i},{10 + seconds_per_chunk * i}\n" for i in chunks))
    between = "," * (len(DIAGNOSTIC_COLUMNS) - 2)
    updates = [f"{100 * i},{10 * i}{between}{min(i, 2) * skipped // 2}\n" for i in chunks]
    run.diagnostics_log.write_text(DIAGNOSTICS + "".join(updates))
    (run.models / model).mkdir()
    return run
