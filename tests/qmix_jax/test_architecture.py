"""Walls of the house: the world knows nothing of learning, traced code nothing of files, plots and progress."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qmix_jax

ROOT = Path(__file__).parents[2]
TRACED = {
    "config",
    "settings",
    "types",
    "selection",
    "sharding",
    "networks",
    "agents",
    "algorithms",
    "loss",
    "central_value",
    "optimizer",
    "rewards",
    "priorities",
    "mixers",
    "qplex",
    "weighting",
    "initializers",
    "exploration",
    "targets",
    "time_limit",
    "torch_networks",
    "vmapped",
    "replay",
    "views",
    "rollout",
    "episodes",
    "learner",
    "trainer",
    "evaluation",
    "inspection",
    "program",
    "schedule",
    "faults",
    "pinning",
    "devices",
}
FACTORIES = {"environments"}  # names the world, so that nothing else has to
HOST = {
    "__init__",
    "assessment",
    "baselines",
    "checkpoint",
    "checkpoint_choice",
    "cli",
    "command",
    "compare",
    "comparison",
    "comparison_run",
    "comparison_share",
    "compilation",
    "conclusion",
    "curves",
    "dashboards",
    "descriptors",
    "errors",
    "evaluate",
    "evaluate_options",
    "evaluate_run",
    "export",
    "export_options",
    "export_run",
    "findings",
    "follower",
    "flags",
    "hparams",
    "integrity",
    "lock",
    "machine_memory",
    "machines",
    "loop",
    "markdown_html",
    "members",
    "onnx_encoding",
    "onnx_graph",
    "onnx_networks",
    "outcomes",
    "output_file",
    "plots",
    "processes",
    "policy",
    "presets",
    "progress",
    "recorder",
    "records",
    "replay_data",
    "replay_page",
    "report",
    "report_options",
    "report_page",
    "report_run",
    "restore",
    "resume",
    "run_directory",
    "run_record",
    "runner",
    "scores",
    "shell",
    "signals",
    "state_file",
    "stats",
    "sweep",
    "sweep_findings",
    "sweep_loop",
    "sweep_plan",
    "sweep_plots",
    "sweep_points",
    "sweep_programs",
    "sweep_resume",
    "sweep_run",
    "sweep_runner",
    "sweep_settings",
    "sweep_share",
    "summary",
    "tables",
    "torch_import",
}
HOST_LIBRARIES = {"json", "matplotlib", "orbax", "os", "pathlib", "tqdm"}


def imports(path):
    """Full names of all that a module imports, `from a import b` as both a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_is_on_one_side():
    assert {path.stem for path in (ROOT / "qmix_jax").glob("*.py")} == TRACED | FACTORIES | HOST


@pytest.mark.parametrize("path", sorted((ROOT / "env_jax").rglob("*.py")), ids=lambda path: path.stem)
def test_the_world_does_not_know_its_learners(path):
    assert not {name for name in imports(path) if name.split(".")[0] == "qmix_jax"}


@pytest.mark.parametrize("module", sorted(TRACED | FACTORIES))
def test_traced_code_imports_no_host_code(module):
    found = imports(ROOT / "qmix_jax" / f"{module}.py")
    assert not found & {f"qmix_jax.{host}" for host in HOST}
    assert not {name.split(".")[0] for name in found} & HOST_LIBRARIES


@pytest.mark.parametrize("module", sorted(TRACED))
def test_traced_code_names_no_world(module):
    found = imports(ROOT / "qmix_jax" / f"{module}.py")
    assert {name for name in found if name.startswith("env_jax.")} <= {
        f"env_jax.types{name}" for name in ("", ".Environment", ".EnvSpec", ".TimeStep")
    }


def test_refusing_a_flag_does_not_wait_for_jax():
    modules = "qmix_jax.config, qmix_jax.cli, qmix_jax.evaluate, qmix_jax.export, qmix_jax.report"
    code = f"import {modules}, sys; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_public_name_exists():
    assert all(getattr(qmix_jax, name) is not None for name in qmix_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        qmix_jax.nothing  # noqa: B018
