"""Exported models choose what the policy chooses: in ONNX Runtime, and in plain NumPy from the parameters' file."""

import json
import sys

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import numpy_q_values, numpy_recurrent_values, quick_jit, randomize, small_config
from safetensors import safe_open
from saved_run import CONFIG, listing, save_run, saved

from env_jax import GridWorld25, LastAction
from env_jax.types import EnvSpec
from qmix_jax import export
from qmix_jax.interchange.formats import model_metadata, parameters_by_name
from qmix_jax.interchange.onnx_policy import policy_graph
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs.policy import TrainedPolicy

BATCH = 64


def make_policy(environment, **settings):
    """A team of random weights, biases and LayerNorm scales, all of which matter."""
    config = small_config(**{"hidden_sizes": (16, 8), **settings})
    learner = make_learner(config, environment.spec)
    params = randomize(jax.eval_shape(learner.init, jax.random.key(0)).params)
    return TrainedPolicy(config, environment, params, learner)


def random_observations(generator, last_action):
    """Views of random situations with 0..3 foods in sight, float32[BATCH, 4, 18 or 19]."""
    views = np.zeros((BATCH, 4, 18), np.float32)
    views[..., [0, 1, 3, 4]] = generator.integers(0, 25, (BATCH, 4, 4))
    views[..., [2, 5]] = 1.0
    for slot in (6, 9, 12):
        food = np.concatenate([generator.integers(0, 25, (BATCH, 4, 2)), np.ones((BATCH, 4, 1))], axis=-1)
        views[..., slot : slot + 3] = food * (generator.random((BATCH, 4, 1)) < 0.7)
    views[0, 0, :9] = [5, 5, 1, 5, 4, 1, 5, 6, 1]  # one step from a neighbour and from a food
    if not last_action:
        return views
    return np.concatenate([views, generator.integers(0, 13, (BATCH, 4, 1)).astype(np.float32)], axis=-1)


def numpy_features(view, encoding, last_action):
    """What a network reads of one agent's view, worked out slowly."""
    if encoding == "raw":
        return view

    def closeness(offset):
        distance = abs(offset[0]) + abs(offset[1])
        return [0.95**distance, float(distance == 1)]

    x, y = view[:2]
    neighbour = view[3] - x, view[4] - y
    features = [x / 12 - 1, y / 12 - 1, neighbour[0] / 24, neighbour[1] / 24, *closeness(neighbour)]
    foods, nearest, distance = [], [0.0] * 7, np.inf
    for slot in (6, 9, 12):
        food = [0.0] * 7
        if view[slot + 2]:
            dx, dy = view[slot] - x, view[slot + 1] - y
            food = [1.0, dx / 24, dy / 24, *closeness((dx, dy)), np.sign(dx), np.sign(dy)]
            if abs(dx) + abs(dy) < distance:
                nearest, distance = food, abs(dx) + abs(dy)
        foods += food
    one_hot = [float(view[18] == 1 + number) for number in range(12)] if last_action else []
    return np.array([*features, *foods, *nearest, *one_hot])


def network_of(arrays, agent, shared):
    """One agent's parameters in the file, as flax nests them."""
    network = {}
    for name, array in arrays.items():
        group, *path = name.split(".")
        if group == "agents":
            layer = network.setdefault(path[0], {})
            for part in path[1:-1]:
                layer = layer.setdefault(part, {})
            layer[path[-1]] = array if shared else array[agent]
    return {"params": network}


def run_onnx(policy, **inputs):
    session = onnxruntime.InferenceSession(policy_graph(policy).serialised(model_metadata(policy)))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize(
    ("shared", "encoding", "last_action"),
    [(False, "env", False), (True, "env", True), (False, "raw", True), (True, "raw", False)],
)
def test_onnx_and_numpy_choose_the_policys_actions(shared, encoding, last_action):
    world = GridWorld25("random")
    environment = LastAction(world) if last_action else world
    policy = make_policy(environment, share_parameters=shared, encoding=encoding, last_action=last_action)
    seen = random_observations(np.random.default_rng(0), last_action)
    ours = np.asarray(quick_jit(policy)(jax.random.key(0), seen))
    found = run_onnx(policy, observations=seen)
    arrays, ids = parameters_by_name(policy), np.eye(4) if shared else np.zeros((4, 0))
    for agent in range(4):
        network = network_of(arrays, agent, shared)
        for row in range(BATCH):
            features = np.concatenate([numpy_features(seen[row, agent], encoding, last_action), ids[agent]])
            q_values = numpy_q_values(network, features)
            np.testing.assert_allclose(found["q_values"][row, agent], q_values, rtol=1e-3, atol=2e-4)
            assert found["actions"][row, agent] == ours[row, agent] == np.argmax(q_values)
    assert len(np.unique(ours)) > 1


@pytest.mark.parametrize("settings", [{"layer_norm": False}, {"dueling": False}], ids=str)
def test_plain_networks(settings):
    policy = make_policy(GridWorld25(), encoding="raw", hidden_sizes=(8, 6), **settings)
    seen = random_observations(np.random.default_rng(1), last_action=False) / 25
    found = run_onnx(policy, observations=seen)
    np.testing.assert_array_equal(found["actions"], quick_jit(policy)(jax.random.key(0), seen))
    expected = numpy_q_values(network_of(parameters_by_name(policy), 2, False), seen[5, 2])
    np.testing.assert_allclose(found["q_values"][5, 2], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_a_memory_goes_in_and_comes_out(shared):
    policy = make_policy(GridWorld25(), agent="gru", share_parameters=shared, encoding="raw", hidden_sizes=(8,))
    generator = np.random.default_rng(1)
    seen = random_observations(generator, last_action=False) / 25
    memory = generator.normal(size=(BATCH, 4, 8)).astype(np.float32)
    ours, new_memory = quick_jit(policy.step)(jax.random.key(0), seen, memory)
    found = run_onnx(policy, observations=seen, memory=memory)
    np.testing.assert_array_equal(found["actions"], ours)
    np.testing.assert_allclose(found["new_memory"], new_memory, atol=1e-5)
    network = network_of(parameters_by_name(policy), 2, shared)
    features = np.concatenate([seen[5, 2], np.eye(4)[2] if shared else []])
    q_values, remembered = numpy_recurrent_values(network, features, memory[5, 2])
    np.testing.assert_allclose(found["q_values"][5, 2], q_values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["new_memory"][5, 2], remembered, atol=1e-5)


class Numbers:
    """An environment, as far as an export looks at it, that forbids actions and has no feature map."""

    spec = EnvSpec("numbers", 2, 3, 2, 3, 10, observation_dtype=np.float32, masks_actions=True)


def test_forbidden_actions_are_not_chosen():
    policy = make_policy(Numbers())
    generator = np.random.default_rng(2)
    seen, mask = generator.normal(size=(BATCH, 2, 2)).astype(np.float32), generator.random((BATCH, 2, 3)) < 0.5
    mask[..., 0] |= ~mask.any(axis=-1)
    found = run_onnx(policy, observations=seen, action_mask=mask)
    np.testing.assert_array_equal(found["actions"], quick_jit(policy)(jax.random.key(0), seen, mask))
    assert np.take_along_axis(mask, found["actions"][..., None], axis=-1).all()


@pytest.fixture
def saved_model(tmp_path):
    """A run, and its final model's parameters by path."""
    params = saved(8).state.learner.params
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return save_run(tmp_path), {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def test_the_command_writes_every_format(saved_model, tmp_path, capsys):
    run, wanted = saved_model
    wanted = {name.replace(".params.", "."): leaf for name, leaf in wanted.items()}
    assert export.main([str(run)]) == 0
    assert export.main([str(run), "--format", "npz", "--output", str(tmp_path / "model")]) == 0
    assert export.main([str(run), "--format=onnx", "--checkpoint", "ep4"]) == 0
    assert capsys.readouterr().out.count("wrote ") == 3
    with safe_open(run / "final_model.safetensors", "np") as file, np.load(tmp_path / "model") as archive:
        assert json.loads(file.metadata()["settings"])["num_envs"] == CONFIG.num_envs
        assert json.loads(str(archive["environment"]))["name"] == "GridWorld25v0"
        assert set(file.keys()) == set(wanted) == set(archive) - {"settings", "environment"}
        assert {"agents.Dense_0.kernel", "agents.advantage.bias", "mixer.weights_1_hidden.kernel"} <= set(wanted)
        for name, leaf in wanted.items():
            np.testing.assert_array_equal(file.get_tensor(name), leaf)
            np.testing.assert_array_equal(archive[name], leaf)
    model = onnx.load(run / "checkpoint_ep4.onnx")
    assert {note.key for note in model.metadata_props} == {"settings", "environment"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "results/run_<i>: must be given"),
        (["{run}/none"], "/none: must be the folder of a run, with configs/hparams.json"),
        (["{run}", "--format", "pickle"], "--format pickle: must be one of safetensors, npz, onnx"),
        (["{run}", "--output", "{run}"], ": must be a file, but is a folder"),
        (["{run}", "--output", "{run}/none/model"], "/none does not"),
        (["{run}", "--checkpoint", "ep5"], "--checkpoint ep5: must be one of final, best, ep0, ep4, ep8"),
        (["{run}", "{run}"], "unexpected value; there is one run"),
    ],
)
def test_bad_input_is_one_line(saved_model, capsys, flags, message):
    run, _ = saved_model
    before = listing(run)
    assert export.main([flag.format(run=run) for flag in flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qmix-jax export: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert listing(run) == before


def test_a_missing_library_names_its_extra(saved_model, capsys, monkeypatch):
    run, _ = saved_model
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "qmix_jax.interchange.onnx_policy")
    monkeypatch.delitem(sys.modules, "qmix_jax.interchange.onnx_graph")
    assert export.main([str(run), "--format", "onnx"]) == 2
    assert (
        "--format onnx: needs onnx: install the extra 'export', in a checkout with pip install -e '.[export]'"
        in capsys.readouterr().err
    )


def test_foreign_feature_maps_are_refused():
    class Encoded(Numbers):
        spec = EnvSpec("numbers", 2, 3, 2, 3, 10, observation_dtype=np.float32, encode_observations=np.sin)

    policy = make_policy(Encoded(), encoding="raw")
    seen = np.ones((1, 2, 2), np.float32)
    assert run_onnx(policy, observations=seen, action_mask=np.ones((1, 2, 3), bool))["q_values"].shape == (1, 2, 3)
    object.__setattr__(policy.config, "encoding", "env")
    with pytest.raises(ValueError, match="cannot hold the feature map of numbers"):
        policy_graph(policy)
