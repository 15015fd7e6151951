"""The PyTorch script's networks act here as they do there."""

import sys
from collections import OrderedDict

import jax
import numpy as np
import pytest
from helpers import quick_compilation, quick_jit

from qmix_jax import evaluate
from qmix_jax.config import Config
from qmix_jax.errors import ConfigError
from qmix_jax.interchange.torch_import import import_policy, stacked_networks, torch_q_values
from qmix_jax.training.environments import make_environment

HEADS = ("value", "advantage")
SPEC = make_environment(Config()).spec


def random_arrays(normalised, width=12):
    """A state dict of the script's names, of random numbers."""
    shapes = {
        "shared.0.weight": (width, 18),
        "shared.2.weight": (width,) if normalised else (10, width),
        "value_head.0.weight": (8, width if normalised else 10),
        "value_head.2.weight": (1, 8),
        "advantage_head.0.weight": (9, width if normalised else 10),
        "advantage_head.2.weight": (6, 9),
    }
    shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    generator = np.random.default_rng(0)
    names = [(agent, name) for agent in range(4) for name in shapes]
    return {f"{i}.{name}": generator.normal(0, 0.5, shapes[name]).astype(np.float32) for i, name in names}


def slow_q_values(arrays, agent, view, normalised):
    """One agent's values of one view, layer by layer."""

    def linear(name, inputs):
        return arrays[f"{agent}.{name}.weight"].astype(np.float64) @ inputs + arrays[f"{agent}.{name}.bias"]

    hidden = np.maximum(linear("shared.0", view), 0)
    if normalised:
        hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
        hidden = hidden * arrays[f"{agent}.shared.2.weight"] + arrays[f"{agent}.shared.2.bias"]
    else:
        hidden = np.maximum(linear("shared.2", hidden), 0)
    heads = [
        linear(f"{name}.2", np.maximum(linear(f"{name}.0", hidden), 0)) for name in ("value_head", "advantage_head")
    ]
    return heads[0] + heads[1] - heads[1].mean()


@pytest.mark.parametrize("normalised", [True, False])
def test_its_shapes_say_what_the_layers_are(normalised):
    arrays = random_arrays(normalised)
    seen = np.random.default_rng(1).integers(0, 25, (5, 4, 18)).astype(np.float32)
    q_values = quick_jit(torch_q_values)(stacked_networks(arrays, SPEC), seen)
    for agent, row in np.ndindex(4, 5):
        wanted = slow_q_values(arrays, agent, seen[row, agent], normalised)
        np.testing.assert_allclose(q_values[agent, row], wanted, rtol=1e-4, atol=1e-4)


def changed(name, array):
    arrays = random_arrays(True)
    if array is None:
        del arrays[name]
    else:
        arrays[name] = np.zeros(array, np.float32)
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "0.shared.0.weight is missing"),
        (changed("3.value_head.2.bias", None), "3.value_head.2.bias is missing"),
        (changed("0.shared.0.weight", (12, 72)), r"0.shared.0.weight is \[12, 72\], must be \[12, 18\]"),
        (changed("2.shared.2.weight", (12, 12)), r"2.shared.2.weight is \[12, 12\], must be \[12\]"),
        (changed("1.advantage_head.2.weight", (5, 9)), r"is \[5, 9\], must be \[6, 9\]"),
        (changed("0.shared.4.weight", (12, 12)), r"'0.shared.4.weight': must be one of <agent>.shared.0, "),
        (changed("4.shared.0.weight", (12, 18)), r"'4.shared.0.weight': must be one of"),
    ],
)
def test_other_networks_are_refused(arrays, message):
    with pytest.raises(ConfigError, match=message):
        stacked_networks(arrays, SPEC)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--import_torch", "none.pt"], "--import_torch 'none.pt': must be a file that exists"),
        (["results/run_1", "--import_torch", "a.pt"], "results/run_1 and --import_torch a.pt: give only one of them"),
        (["--import_torch", __file__, "--html", "a.html"], "--html a.html: shows a run's networks"),
        (["--import_torch", __file__, "--checkpoint", "best"], "--checkpoint best: is for runs"),
    ],
)
def test_bad_input_is_one_line(flags, message, capsys):
    assert evaluate.main(flags) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_without_torch_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ConfigError, match=r"needs torch: install the extra 'torch', in a checkout with pip install -e '\.\[torch\]'"
    ):
        import_policy(__file__)


@pytest.mark.slow
@pytest.mark.parametrize("normalised", [True, False])
def test_torchs_own_networks_choose_the_same_actions(normalised, tmp_path, capsys, monkeypatch):
    import torch
    from torch import nn

    torch.manual_seed(0)

    def make_network():
        second = [nn.LayerNorm(128)] if normalised else [nn.Linear(128, 128), nn.ReLU()]
        parts = {"shared": nn.Sequential(nn.Linear(18, 128), nn.ReLU(), *second)}
        for name, outputs in (("value_head", 1), ("advantage_head", 6)):
            parts[name] = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, outputs))
        return nn.ModuleDict(parts)

    networks = nn.ModuleList([make_network() for _ in range(4)])
    for parameter in networks.parameters():
        nn.init.normal_(parameter, std=0.3)
    seen = np.random.default_rng(1).integers(0, 25, (50, 4, 18)).astype(np.float32)
    wanted = []
    for agent, network in enumerate(networks):
        hidden = network["shared"](torch.tensor(seen[:, agent]))
        value, advantage = network["value_head"](hidden), network["advantage_head"](hidden)
        wanted.append((value + advantage - advantage.mean(dim=-1, keepdim=True)).detach().numpy())

    torch.save({"q_networks": networks.state_dict(), "episode": 1000}, tmp_path / "model.pt")
    torch.save(OrderedDict(networks.state_dict()), tmp_path / "bare.pt")
    for name in ("model.pt", "bare.pt"):
        policy = import_policy(str(tmp_path / name))
        q_values, _ = policy.learner.q_values(policy.params, seen, policy.init_memory(50))
        np.testing.assert_allclose(q_values, wanted, rtol=1e-3, atol=1e-3)
        actions = policy(jax.random.key(0), seen)
        np.testing.assert_array_equal(actions, np.argmax(wanted, axis=-1).T)
    assert len(np.unique(actions)) > 2

    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    with quick_compilation():
        flags = ["--episodes", "4", "--env_mode", "random", "--json", str(tmp_path / "out.json")]
        assert evaluate.main(["--import_torch", str(tmp_path / "model.pt"), *flags]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        f"PYTORCH of {tmp_path / 'model.pt'} (q_networks) on GridWorld25v0: 4 episodes, random starts"
    )
    assert "greedy nearest" in out

    torch.save({"q_networks": networks}, tmp_path / "objects.pt")  # whole modules: code, not numbers
    (tmp_path / "text.pt").write_text("nothing")
    torch.save({"q_networks": [1, 2]}, tmp_path / "list.pt")
    for name in ("objects.pt", "text.pt", "list.pt"):
        with pytest.raises(ConfigError, match=r"--import_torch .*: must (be a file of numbers|hold 'q_networks')"):
            import_policy(str(tmp_path / name))
