"""Try every registered environment of JaxMARL and Jumanji: `python benchmarks/environments_table.py [NAME ...]`.

Trains each for some hundred steps with `qmix-jax train --env NAME`, and writes `docs/reference/environments.md`: which
of them train, with their sizes and arguments, and why the others are refused. With names it prints the rows of those
and writes nothing. Takes about a quarter of an hour.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = {"jaxmarl": "JaxMARL", "jumanji": "Jumanji"}
TINY = (
    "--num_envs 4 --total_steps 400 --max_steps_per_ep 50 --min_buffer_size 40 --batch_size 4 --buffer_capacity 400 "
    "--hidden_sizes 8 --mixing_size 4 --hypernet_size 4 --eval_interval 200 --eval_episodes 2 "
    "--last_action false"  # which the preset sets: sizes are those of the environment alone
).split()
ANY = "_"  # no constructor has such an argument, so that a refusal lists those it has
PAGE = """\
# Environments of JaxMARL and Jumanji

Every environment that {versions} register, each tried with `qmix-jax train --env NAME` by
`benchmarks/environments_table.py`, which writes this page. [How to use them](../how_to/libraries.md).

## Those that train

`--env_args NAME=VALUE ...` sets the arguments in the last column; without it they have their defaults. Values that the
library cannot step with, or that do not fit (such as `action_type=Continuous`), are refused with the reason.

The team is trained on the sum of its agents' rewards. Where the agents have rewards of their own, a run says so at its
start: in `coin_game` each gains at the other's cost, and the sum is what they gain together.

| --env | agents | actions | observation | rewards | arguments |
| --- | --- | --- | --- | --- | --- |
{trained}

## Those that are refused

| --env | why |
| --- | --- |
{refused}
"""


def train(name: str, results: Path, *words: str) -> tuple[int, str]:
    """Return exit status and the last line of stderr."""
    command = [sys.executable, "-m", "qmix_jax.train", "--env", name, *TINY, "--results_dir", str(results), *words]
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "HF_HUB_OFFLINE": "1"}  # nothing is measured
    environ = os.environ | {**quick, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def row(name: str) -> tuple[bool, str]:
    """Return whether the environment trains, and its row."""
    called = f"`{name}`".replace("|", r"\|")
    with tempfile.TemporaryDirectory() as folder:
        status, message = train(name, Path(folder))
        if status == 0:
            hparams = json.loads((Path(folder) / "run_1" / "configs" / "hparams.json").read_text())
            spec = hparams["derived"]["environment_spec"]
            _, listed = train(name, Path(folder), "--env_args", f"{ANY}=1")
            sizes = " | ".join(str(spec[size]) for size in ("num_agents", "num_actions", "observation_size"))
            own = any("rewards of their own" in notice for notice in hparams["notices"])
            rewards = "each agent's own" if own else "shared"
            return True, f"| {called} | {sizes} | {rewards} | {listed.partition(' arguments are ')[2]} |"
    reason = message.partition(f"error: --env {name}: ")[2] if status == 2 else f"exit status {status}: {message}"
    reason = reason.replace("|", r"\|")
    return False, f"| {called} | {reason} |"


def main(chosen: list[str]) -> None:
    names = chosen or [
        f"{library}:{name}" for library in LIBRARIES for name in import_module(f"env_jax.foreign.{library}").names()
    ]
    found = []
    for name in names:
        found.append(row(name))
        print(found[-1][1], flush=True)
    if chosen:
        return
    versions = " and ".join(f"{title} {version(library)}" for library, title in LIBRARIES.items())
    trained, refused = ("\n".join(line for trains, line in found if trains is wanted) for wanted in (True, False))
    page = PAGE.format(versions=versions, trained=trained, refused=refused)
    (ROOT / "docs" / "reference" / "environments.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
