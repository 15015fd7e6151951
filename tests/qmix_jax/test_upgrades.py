"""Files of older versions mean what they meant."""

import json

import pytest

from env_jax import GridWorld25
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.experiments.comparison_spec import COMPARISON
from qmix_jax.experiments.experiment import experiment_file, experiment_from_flags, read_experiment, write_experiment
from qmix_jax.experiments.sweep_spec import SWEEP
from qmix_jax.storage.hparams import FORMAT, describe_run, read_config
from qmix_jax.upgrades import ADDED


def hparams_of(written, config):
    """What a version that wrote this format left of `config`."""
    later = [name for since, values in ADDED.items() if since > written for name in values]
    content = {**describe_run(config, GridWorld25()), "format": written}
    return {name: value for name, value in content.items() if name not in later}


@pytest.mark.parametrize("written", [3, 4, 5, 6, 7])
def test_settings_of_an_older_run(tmp_path, written):
    path = tmp_path / "hparams.json"
    path.write_text(json.dumps(hparams_of(written, Config())))
    assert read_config(path) == Config(time_limit="terminal" if written == 3 else "auto")


@pytest.mark.parametrize(
    ("written", "since"), [(4, "time_limit"), (5, "initializer"), (6, "quiet"), (7, "centre_rewards")]
)
def test_a_setting_that_its_version_knew_must_be_there(tmp_path, written, since):
    path, content = tmp_path / "hparams.json", hparams_of(written, Config())
    del content[since]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=f"'{since}' is missing"):
        read_config(path)


def test_every_format_until_now_is_covered():
    assert max(ADDED) == FORMAT


@pytest.mark.parametrize(("written", "algorithm"), [(3, "qplex_gap"), (4, "qplex_gap"), (5, "qplex")])
def test_qplex_was_the_mixer_with_a_gap(tmp_path, written, algorithm):
    path = tmp_path / "hparams.json"
    path.write_text(json.dumps(hparams_of(written, Config(algorithm="qplex"))))
    assert read_config(path).algorithm == algorithm


def test_an_older_sweep(tmp_path):
    """Its preset has another name now, and its algorithm too."""
    write_experiment(tmp_path, experiment_from_flags(SWEEP, {"num_seeds": "2"}))
    content = json.loads(experiment_file(tmp_path, SWEEP).read_text())
    for written, flags in ((3, {"preset": "pymarl2"}), (2, {"algorithm": "qplex"})):
        experiment_file(tmp_path, SWEEP).write_text(json.dumps({**content, "format": written, "flags": flags}))
        config = read_experiment(SWEEP, tmp_path).config
        assert (config.sequence_length, config.algorithm) == {3: (16, "qmix"), 2: (1, "qplex_gap")}[written]
        assert config.time_limit == ("terminal" if written == 2 else "auto")


def test_an_older_comparison(tmp_path):
    write_experiment(tmp_path, experiment_from_flags(COMPARISON, {"algorithms": ["qmix", "vdn"]}))
    path = tmp_path / "configs" / "compare.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "flags": {"preset": "pymarl2"}}))
    assert read_experiment(COMPARISON, tmp_path).config.sequence_length == 16


@pytest.mark.parametrize(
    ("flags", "num_envs"),
    [({}, 64), ({"num_envs": "32"}, 32), ({"preset": "random"}, 64), ({"preset": "throughput"}, 4096)],
    ids=str,
)
def test_older_sweeps_and_comparisons_had_64_environments_by_default(tmp_path, flags, num_envs):
    write_experiment(tmp_path, experiment_from_flags(SWEEP, {"grid": ["lr=1e-3,1e-4"]}))
    content = json.loads(experiment_file(tmp_path, SWEEP).read_text())
    experiment_file(tmp_path, SWEEP).write_text(json.dumps({**content, "format": 3, "flags": flags}))
    assert read_experiment(SWEEP, tmp_path).config.num_envs == num_envs
    write_experiment(tmp_path, experiment_from_flags(COMPARISON, {"algorithms": ["qmix", "vdn"]}))
    path = tmp_path / "configs" / "compare.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "flags": flags}))
    assert read_experiment(COMPARISON, tmp_path).config.num_envs == num_envs


def test_an_older_sweep_that_tried_numbers_of_environments(tmp_path):
    write_experiment(tmp_path, experiment_from_flags(SWEEP, {"grid": ["num_envs=64,128"]}))
    content = json.loads(experiment_file(tmp_path, SWEEP).read_text())
    experiment_file(tmp_path, SWEEP).write_text(json.dumps({**content, "format": 3}))
    assert [member.config.num_envs for member in read_experiment(SWEEP, tmp_path).members] == [64, 128]
