"""What several tests share: small settings, batches of random numbers, and the networks again in slow NumPy."""

from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.types import EnvSpec
from qmix_jax.config import Config
from qmix_jax.learning.batch import prepare
from qmix_jax.learning.learner import Learner, make_learner
from qmix_jax.learning.loss import make_loss, make_target_values
from qmix_jax.learning.model import make_networks
from qmix_jax.networks.mixers import value_actions
from qmix_jax.training.replay import Replay
from qmix_jax.training.trainer import make_trainer
from qmix_jax.types import Sample, Transition

# These programs run for milliseconds and compile for seconds: half of that without the compiler's optimisations.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextmanager
def quick_compilation():
    """Compile in the same way what code under test jits by itself."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


SMALL = {
    "num_envs": 64,
    "hidden_sizes": (16,),
    "mixing_size": 8,
    "hypernet_size": 8,
    "weight_decay": 0.0,
    "optimizer_epsilon": 1e-8,
}

# Two agents, three actions, float observations and a state of its own: small enough for slow NumPy.
SPEC = EnvSpec(
    name="numbers",
    num_agents=2,
    num_actions=3,
    observation_size=2,
    state_size=3,
    max_steps=10,
    observation_dtype=jnp.float32,
    time_limit_is_terminal=True,
)


def small_config(**settings):
    """Return a configuration of small networks without weight decay."""
    return Config(**{**SMALL, **settings})


def train(environment, config, seed=0, **traced):
    """Return the state after the whole run, compiled as one program: the same for any values of settings `traced`."""

    def run(key, learner, traced):
        trainer = make_trainer(config.traced(traced), environment)
        state = trainer.init(key).replace(learner=learner)
        for _ in range(config.num_chunks):
            state, _ = trainer.train_chunk(state)
        return state

    shapes = ("algorithm", "agent", "hypernet_size", "mixing_size", "central_sizes", "state_clock", "share_parameters")
    shapes += ("standardise_rewards", "central_value", "layer_norm", "dueling", "hypernet_layers", "value_size")
    shapes += ("num_heads", "head_layers", "initializer", "mixer_skip", "mixer_norm")
    networks = small_config(**{name: getattr(config, name) for name in shapes})
    learner = _initial_learner(networks, replace(environment.spec, name="any", max_steps=1), seed)
    return quick_jit(run)(jax.random.key(seed), learner, traced)


@cache
def _initial_learner(config, spec, seed):
    """Initialise once for all probes of the same sizes: compiling that takes as long as all the rest."""
    return quick_jit(make_learner(config, spec).init)(jax.random.key(seed))


def joint_values(config, environment, state, env_state, elapsed=0):
    """Return q_tot of every joint action of two agents in one environment state, float32[A, A]."""
    spec = environment.spec
    never = jnp.zeros((), bool)
    shown = environment.show(env_state, jnp.zeros(spec.num_agents), never, never)
    actions = jnp.array(list(product(range(spec.num_actions), repeat=2))).T
    params, count = state.learner.params, actions.shape[1]
    networks = make_networks(config, spec)
    views, mixer = networks.views, networks.mixer

    def repeat(x):
        return jnp.broadcast_to(x[None], (count, *x.shape))

    observations = repeat(shown.observations)
    learner = make_learner(config, spec)
    q_values, _ = learner.q_values(params, observations, learner.init_memory(count))
    values = value_actions(q_values, actions, repeat(shown.action_mask))
    mixer_state = views.mixer(observations, repeat(shown.state), jnp.full(count, elapsed))
    return np.asarray(mixer.apply(params["mixer"], values, mixer_state)).reshape(spec.num_actions, spec.num_actions)


def randomize(params, seed=0, scale=0.7):
    """Replace every parameter, biases and LayerNorm scales too, by a normal number, so that each of them matters."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(generator.normal(0, scale, x.shape), x.dtype), params)


def random_batch(generator, batch, length, spec=SPEC):
    """Return a batch of transitions of random numbers: no episode ends, every agent may do one action at least."""
    mask = generator.random((batch, length, spec.num_agents, spec.num_actions)) < 0.6
    mask[..., 0] |= ~mask.any(axis=-1)
    numbers = (batch, length, spec.num_agents)
    return Transition(
        observations=jnp.asarray(generator.normal(size=(*numbers, spec.observation_size)), jnp.float32),
        actions=jnp.asarray(generator.integers(0, spec.num_actions, numbers), jnp.int8),
        rewards=jnp.asarray(generator.normal(size=numbers), jnp.float32),
        done=jnp.zeros((batch, length), bool),
        elapsed=jnp.asarray(generator.integers(0, spec.max_steps, (batch, length)), jnp.uint16),
        state=jnp.asarray(generator.normal(size=(batch, length, spec.state_size)), jnp.float32),
        action_mask=jnp.asarray(mask) if spec.masks_actions else None,
    )


def uniform(sequences):
    """Return sequences as a uniform replay gives them to an update."""
    return Sample(sequences, indices=None, probabilities=None)


def make_single_update(learner):
    """Return one update by itself, as a function of a learner's state and a sample."""

    def update(state, sample):
        packed, batch = learner.pack(state), learner.prepare(sample)
        packed, metrics, priorities = learner.update(packed, batch, learner.read_targets(packed, batch))
        return learner.unpack(learner.copy_targets(packed)), metrics, priorities

    return update


def make_plain_loss(config, spec=SPEC):
    """Return the loss as a function of parameters, target parameters or None, sequences, and optionally the rest."""
    networks = make_networks(config, spec)
    loss, target_values = make_loss(config, networks), make_target_values(config, networks)

    def plain_loss(params, target_params, sequences, weights=None, statistics=None, cuts=None):
        batch = prepare(config, networks.views, Sample(sequences, indices=None, probabilities=None, cuts=cuts))
        values = None if target_params is None else target_values(target_params, batch)
        return loss(params, target_params, batch, values, weights, statistics)

    return plain_loss


def make_stubs(init, update, sample, num_envs):
    """Return a learner whose two agents value three actions alike, and a replay that keeps nothing."""
    learner = Learner(
        init,
        init_memory=lambda count: jnp.zeros((count, 2, 0)),
        q_values=lambda params, seen, memory: (jnp.zeros((2, num_envs, 3)), memory),
        pack=lambda state: state,
        prepare=lambda sample: sample,
        read_targets=lambda state, batch: (),
        update=lambda state, batch, targets: update(state, batch),
        copy_targets=lambda state: state,
        unpack=lambda state: state,
    )
    replay = Replay(
        init=lambda: (),
        add=lambda state, transition, stepped: state,
        sample=lambda state, numbers: sample(numbers),
        reprioritise=lambda state, sample, priorities: state,
    )
    return learner, replay


def numpy_q_values(network, features):
    """Dueling MLP of one agent for one feature vector, from flax's parameters: linear, LayerNorm, ReLU, two heads."""
    network = jax.tree.map(lambda x: np.asarray(x, np.float64), network["params"])
    return _values(network, _hidden_layers(network, features))


def numpy_recurrent_values(network, features, memory):
    """The same with a GRU after the layers (Cho et al. 2014, in the form of PyTorch's): values, new memory."""
    network = jax.tree.map(lambda x: np.asarray(x, np.float64), network["params"])
    hidden, gru = _hidden_layers(network, features), network["GRUCell_0"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    reset = sigmoid(_linear(gru["ir"], hidden) + memory @ gru["hr"]["kernel"])
    update = sigmoid(_linear(gru["iz"], hidden) + memory @ gru["hz"]["kernel"])
    candidate = np.tanh(_linear(gru["in"], hidden) + reset * _linear(gru["hn"], memory))
    memory = (1 - update) * candidate + update * memory
    return _values(network, memory), memory


def _hidden_layers(network, features):
    hidden = np.asarray(features, np.float64)
    for layer in range(sum(name.startswith("Dense_") for name in network)):
        hidden = _linear(network[f"Dense_{layer}"], hidden)
        if f"LayerNorm_{layer}" in network:
            norm = network[f"LayerNorm_{layer}"]
            hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-6) * norm["scale"] + norm["bias"]
        hidden = np.maximum(hidden, 0.0)
    return hidden


def _values(network, hidden):
    if "values" in network:
        return _linear(network["values"], hidden)
    advantage = _linear(network["advantage"], hidden)
    return _linear(network["value"], hidden) + advantage - advantage.mean()


def numpy_q_tot(mixer, agent_qs, state, skip=True):
    """QMIX's mixing network for one vector of values and one state, from flax's parameters."""
    mixer = jax.tree.map(lambda x: np.asarray(x, np.float64), mixer["params"])
    state = np.asarray(state, np.float64)

    norms = {"value": "LayerNorm_0", "weights_1": "LayerNorm_1", "weights_2": "LayerNorm_2"}  # in the order of calls

    def two_layers(name):
        hidden = state
        if f"{name}_hidden" in mixer:
            hidden = _linear(mixer[f"{name}_hidden"], state)
            if norms[name] in mixer:
                norm = mixer[norms[name]]
                hidden = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-6) * norm["scale"] + norm["bias"]
            hidden = np.maximum(hidden, 0.0)
        return _linear(mixer[name], hidden)

    mixing_size = mixer["weights_2"]["bias"].size
    weights_1 = np.abs(two_layers("weights_1")).reshape(len(agent_qs), mixing_size)
    hidden = np.asarray(agent_qs, np.float64) @ weights_1 + _linear(mixer["bias_1"], state)
    hidden = np.where(hidden > 0, hidden, np.exp(np.minimum(hidden, 0.0)) - 1)
    added = (hidden @ np.abs(two_layers("weights_2")) + two_layers("value")).item()
    return float(np.sum(agent_qs)) + added if skip else added


def numpy_central(mixer, agent_qs, state):
    """Q*'s mixer for one vector of values and one state."""
    mixer = jax.tree.map(lambda x: np.asarray(x, np.float64), mixer["params"])
    hidden = np.concatenate([agent_qs, state])
    for layer in range(len(mixer) - 1):
        hidden = np.maximum(_linear(mixer[f"Dense_{layer}"], hidden), 0.0)
    return _linear(mixer[f"Dense_{len(mixer) - 1}"], hidden).item()


HEADS = "keys", "agents", "actions"


def _heads(layers, inputs):
    """Outputs of a network for each head, [K, size]."""
    outputs = []
    for head in range(layers["Dense_0"]["bias"].shape[0]):
        hidden = inputs
        for number in range(len(layers)):
            layer = {name: array[head] for name, array in layers[f"Dense_{number}"].items()}
            hidden = _linear(layer, hidden if number == 0 else np.maximum(hidden, 0.0))
        outputs.append(hidden)
    return np.array(outputs)


def numpy_qplex(mixer, chosen, best, actions, num_actions, state):
    """QPLEX's mixer for one joint action and one state: V_tot + sum lambda_i A_i, and those lambdas."""
    mixer = jax.tree.map(lambda x: np.asarray(x, np.float64), mixer["params"])
    state, count = np.asarray(state, np.float64), len(actions)
    joint = np.concatenate([state, *np.eye(num_actions)[np.asarray(actions)]])

    def two_layers(name, inputs):
        return _linear(mixer[name], np.maximum(_linear(mixer[f"{name}_hidden"], inputs), 0.0))

    weights, biases = np.abs(two_layers("weights", state)), two_layers("biases", state)
    advantages = weights * (np.asarray(chosen, np.float64) - best)
    if "keys" in mixer:
        keys, agents, gates = (_heads(mixer[name], x) for name, x in zip(HEADS, (state, state, joint), strict=True))
        weighted = np.sum(np.abs(keys) / (1 + np.exp(-agents)) / (1 + np.exp(-gates)), axis=0)
    else:
        attention = np.exp(two_layers("attention", state))
        heads = two_layers("heads", joint).reshape(count, -1)
        gap = np.log(1 + np.exp(two_layers("gap", joint).item())) / (np.abs(advantages).sum() + 0.01)
        weighted = [2 * sum(attention / (1 + np.exp(-heads[i]))) / attention.sum() + gap for i in range(count)]
    return (weights * best + biases).sum() + weighted @ advantages, np.array(weighted)


def _linear(layer, inputs):
    return inputs @ layer["kernel"] + layer["bias"]


def resize(browser, width, height):
    """Give the browser's page a screen of this size."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def too_wide(browser):
    """Return what reaches beyond the screen's right edge, but for what scrolls by itself, and what is wider inside."""
    return browser.execute_script(
        "const edge = document.documentElement.clientWidth + 1;"
        "const wide = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg'))"
        ".filter(e => e.getBoundingClientRect().right > edge || e.scrollWidth > Math.max(e.clientWidth, edge));"
        "return wide.map(e => e.outerHTML.slice(0, 200)).concat(document.body.scrollWidth > edge ? ['the page'] : [])"
    )
