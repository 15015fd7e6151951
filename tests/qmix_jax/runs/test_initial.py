"""`--init_from`: what a run starts from, and what cannot be started from."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from saved_run import CONFIG, listing, save_run, saved

from qmix_jax import train as cli
from qmix_jax.experiments.experiment import experiment_from_flags
from qmix_jax.experiments.group import train_group
from qmix_jax.experiments.plan import group_members
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.runs import runner
from qmix_jax.runs.initial import initial_params, start_from
from qmix_jax.storage.checkpoint import FINAL, load_params
from qmix_jax.training.environments import make_environment
from qmix_jax.training.trainer import make_trainer

SPEC = make_environment(CONFIG).spec


@pytest.fixture
def other(tmp_path):
    """A run whose final model is one of random numbers."""
    return save_run(tmp_path)


def flags(other, **settings):
    values = {name: value for name, value in vars(CONFIG).items() if value != getattr(type(CONFIG), name)}
    values = {**values, "init_from": other, "env_mode": "random", "results_dir": other.parent, **settings}
    return [f"--{name}={value[0] if isinstance(value, tuple) else value}" for name, value in values.items()]


def test_a_run_on_another_task_starts_from_the_final_model(other):
    assert cli.main(flags(other)) == 0
    first = load_params(other.parent / "run_2", "checkpoint_ep0")
    jax.tree.map(np.testing.assert_array_equal, first, load_params(other))
    assert json.loads((other.parent / "run_2" / "configs" / "hparams.json").read_text())["init_from"] == str(other)


def test_one_of_its_other_models(other):
    config = replace(CONFIG, init_from=str(other / "models" / "checkpoint_ep4"))
    jax.tree.map(np.testing.assert_array_equal, initial_params(config, SPEC), saved(4).state.learner.params)


def test_the_target_network_starts_from_it_too(other):
    trainer, config = make_trainer(CONFIG, make_environment(CONFIG)), replace(CONFIG, init_from=str(other))
    init = jax.jit(trainer.init).lower(jax.random.key(0)).compile()
    state = start_from(initial_params(config, SPEC), init(jax.random.key(0)), init.output_shardings)
    jax.tree.map(np.testing.assert_array_equal, state.learner.target_params, load_params(other))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state.learner)]
    assert len(set(pointers)) == len(pointers)  # nothing would be donated twice


def test_all_members_of_a_sweep_start_from_it(other, tmp_path):
    words = dict(flag.removeprefix("--").split("=") for flag in flags(other))
    sweep = experiment_from_flags(SWEEP, {**words, "hidden_sizes": [words["hidden_sizes"]], "num_seeds": "2"})
    share = group_members(sweep.members)
    for group in share:
        train_group(group, tmp_path, lambda: 2)
        for member in group.members:
            first = load_params(tmp_path / member.folder, "checkpoint_ep0")
            jax.tree.map(np.testing.assert_array_equal, first, load_params(other))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"init_from": "nothing"}, "--init_from nothing: must be the folder of a run"),
        ({"hidden_sizes": (5,)}, "parameters agents/params/Dense_0/bias are ((4, 4), dtype('float32'))"),
        ({"algorithm": "vdn"}, "parameters mixer/"),
        ({"agent": "gru"}, "--init_from"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_is_written(other, capsys, monkeypatch, change, line):
    monkeypatch.setattr(runner, "_train", lambda *_: pytest.fail("it trains"))
    before = listing(other.parent)
    assert cli.main(flags(other, **change)) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert listing(other.parent) == before


def test_a_damaged_model_is_refused(other, capsys):
    sums = other / "models" / FINAL / "SHA256SUMS"
    sums.write_text("0" * 64 + sums.read_text()[64:])
    assert cli.main(flags(other)) == 2
    assert f"--init_from {other}: " in capsys.readouterr().err
