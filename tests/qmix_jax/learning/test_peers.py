"""Updates against a PyTorch transcription of the published formulas: same parameters, same batches, double precision.

`tests/data/peers.npz` has what PyTorch computed, so that PyTorch is not needed here. The slow test computes it again;
`python tests/qmix_jax/learning/test_peers.py` writes it anew.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, make_single_update, quick_jit, random_batch, randomize, small_config, uniform

from qmix_jax.learning.learner import make_learner
from qmix_jax.storage.arrays import named_arrays

DATA = Path(__file__).resolve().parents[2] / "data" / "peers.npz"
LENGTH, BATCH, UPDATES = 5, 12, 3
# As PyMARL's agents and mixer are: whole episodes, plain GRU agents that share one network.
PYMARL = {
    "agent": "gru",
    "hidden_sizes": (6, 5),
    "layer_norm": False,
    "dueling": False,
    "share_parameters": True,
    "value_size": 4,
    "mixer_skip": False,
    "max_grad_norm": 1e6,
}
CASES = {
    "qmix": PYMARL,
    "qmix_mlp": {"hidden_sizes": (6, 5), "mixer_skip": False},
    "qmix_one_layer_hypernetworks": {**PYMARL, "hypernet_layers": 1},
    "qmix_without_double_q": {**PYMARL, "double_q": False},
    "qmix_q_lambda": {**PYMARL, "target": "q_lambda", "td_lambda": 0.6},
    "vdn": {**PYMARL, "algorithm": "vdn"},
    "ow_qmix": {**PYMARL, "algorithm": "ow_qmix", "alpha": 0.1},
    "cw_qmix": {**PYMARL, "algorithm": "cw_qmix", "alpha": 0.1},
    "qplex": {**PYMARL, "algorithm": "qplex", "num_heads": 3, "head_layers": 2},
    "clipped": {**PYMARL, "max_grad_norm": 0.3},
    "rmsprop": {**PYMARL, "optimizer": "rmsprop", "optimizer_epsilon": 1e-5},
    "adamw": {**PYMARL, "optimizer": "adamw", "weight_decay": 0.1},
    "radam": {**PYMARL, "optimizer": "radam"},
    "weight_decay": {**PYMARL, "weight_decay": 0.1},
}


def config_of(name):
    settings = {
        "sequence_start": "episode",
        "sequence_length": LENGTH,
        "n_step": 1,
        "gamma": 0.9,
        "lr": 1e-2,
        "lr_schedule": "constant",
        "target_update_interval": 100,
        "mixing_size": 4,
        "hypernet_size": 5,
        "central_sizes": (5, 4),
        "encoding": "raw",
        "state_clock": False,
        "optimizer_epsilon": 1e-3,
        "weight_decay": 0.0,
    }
    return small_config(**{**settings, **CASES[name]})


def inputs(name):
    """Configuration, parameters, and a batch for each update, of episodes that end at any step or go on."""
    config = config_of(name)
    params = jax.device_get(
        randomize(jax.eval_shape(make_learner(config, SPEC).init, jax.random.key(0)).params, 1, 0.5)
    )
    batches = []
    for seed in range(UPDATES):
        batch = random_batch(np.random.default_rng(seed), BATCH, config.sample_length)
        ends = np.arange(BATCH)[:, None] % (LENGTH + 2) == np.arange(config.sample_length)[None]
        steps = np.broadcast_to(np.arange(config.sample_length), ends.shape)
        batches.append(batch.replace(done=jnp.asarray(ends), elapsed=jnp.asarray(steps, jnp.uint16)))
    return config, params, batches


def from_torch(name):
    """What PyTorch makes of it: losses, and parameters by path."""
    import torch_formulas

    config, params, batches = inputs(name)
    arrays = [{field: np.asarray(x) for field, x in vars(batch).items() if x is not None} for batch in batches]
    losses, trained = torch_formulas.train(config, params, arrays)
    trained = jax.tree.map(lambda x: x.detach().numpy(), trained)
    return {f"{name}/losses": np.array(losses), **{f"{name}/{path}": x for path, x in named_arrays(trained).items()}}


def stored(name):
    with np.load(DATA) as file:
        return {path: file[path] for path in file.files if path.startswith(f"{name}/")}


@pytest.mark.parametrize("name", CASES)
def test_updates_are_those_of_the_published_formulas(name):
    config, params, batches = inputs(name)
    learner, expected = make_learner(config, SPEC), stored(name)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    state = state.replace(params=params, target_params=params)
    update, losses = quick_jit(make_single_update(learner)), []
    for batch in batches:
        state, metrics, _ = update(state, uniform(batch))
        losses.append(float(metrics.loss))
    np.testing.assert_allclose(losses, expected.pop(f"{name}/losses"), rtol=1e-4)
    found = {f"{name}/{path}": array for path, array in named_arrays(state.params).items()}
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, atol=1e-5, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_pytorch_computes_what_is_stored(name):
    expected, found = stored(name), from_torch(name)
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, rtol=1e-6, atol=1e-9, err_msg=path)


if __name__ == "__main__":
    np.savez_compressed(DATA, **{path: x for name in CASES for path, x in from_torch(name).items()})
