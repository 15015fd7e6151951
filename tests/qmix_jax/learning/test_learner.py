"""One update against slow NumPy: loss, masks, double Q, metrics, clipping, weight decay, learning rate, targets."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SPEC,
    make_plain_loss,
    make_single_update,
    numpy_q_tot,
    numpy_q_values,
    numpy_qplex,
    numpy_recurrent_values,
    quick_jit,
    random_batch,
    randomize,
    small_config,
    uniform,
)

from qmix_jax.learning.learner import batch_moments, make_learner
from qmix_jax.learning.optimizer import initial_schedule, learning_rate, make_optimizer
from qmix_jax.learning.time_limit import find_cuts
from qmix_jax.networks.mixers import select_actions
from qmix_jax.types import FinalSteps

GAMMA, BATCH = 0.9, 12


def _config(**settings):
    defaults = {"hidden_sizes": (6,), "mixing_size": 4, "hypernet_size": 5, "gamma": GAMMA, "n_step": 2}
    return small_config(**{**defaults, "encoding": "raw", **settings})


def _loss(config, spec=SPEC):
    return make_plain_loss(config, spec)


def _two_parameters(config):
    params = jax.eval_shape(make_learner(config, SPEC).init, jax.random.key(0)).params
    return randomize(params, 1), randomize(params, 2)


def _batch(length, seed=0, memory_size=0):
    """Random numbers; episodes end at every position of the sequence, after it, and not at all."""
    generator = np.random.default_rng(seed)
    batch = random_batch(generator, BATCH, length)
    ends = jnp.arange(BATCH)[:, None] % (length + 1) == jnp.arange(length)[None]
    memory = generator.normal(size=(BATCH, length, SPEC.num_agents, memory_size)).astype(np.float32)
    return batch.replace(done=ends, memory=jnp.asarray(memory) if memory_size else None)


def _mixed(config, params, batch, row, t, values, actions):
    """Mix the agents' values of one joint action into a list of V numbers."""
    chosen = [q[a] for q, a in zip(values, actions, strict=True)]
    if config.algorithm == "vdn":
        return [sum(chosen)]
    if config.algorithm in ("iql", "madqn"):
        return chosen
    state = np.asarray(batch.state[row, t], np.float64)
    if config.time_limit == "bootstrap":
        state = np.sign(state) * np.log1p(np.abs(state))
    elif config.state_clock:
        state = np.append(state, float(batch.elapsed[row, t]) / SPEC.max_steps)
    if config.algorithm == "qplex":
        best = [q[mask].max() for q, mask in zip(values, np.asarray(batch.action_mask[row, t]), strict=True)]
        return [numpy_qplex(params["mixer"], chosen, best, actions, SPEC.num_actions, state)[0]]
    return [numpy_q_tot(params["mixer"], chosen, state, config.mixer_skip)]


def _agent_values(config, params, batch, row, t):
    """The agents' values at step t of a sequence; recurrent ones are unrolled from its first step's hidden state."""
    networks = [jax.tree.map(lambda x, i=i: x[i], params["agents"]) for i in range(SPEC.num_agents)]
    if config.agent == "mlp":
        return [numpy_q_values(net, seen) for net, seen in zip(networks, batch.observations[row, t], strict=True)]
    empty = np.zeros(config.hidden_sizes[-1])
    memories = [empty] * SPEC.num_agents if batch.memory is None else list(batch.memory[row, 0])
    for step in range(t + 1):
        if step > 0 and batch.done[row, step - 1]:
            memories = [empty] * SPEC.num_agents
        observed = zip(networks, batch.observations[row, step], memories, strict=True)
        values, memories = zip(*(numpy_recurrent_values(*inputs) for inputs in observed), strict=True)
    return list(values)


def numpy_predictions(config, params, batch):
    """Values of the actions taken at the learned steps, [B, K, V]."""
    params, batch = jax.device_get((params, batch))  # thousands of single numbers are read
    return np.array(
        [
            [
                _mixed(
                    config, params, batch, row, t, _agent_values(config, params, batch, row, t), batch.actions[row, t]
                )
                for t in range(config.learned_steps.start, config.learned_steps.stop)
            ]
            for row in range(len(batch.done))
        ]
    )


def numpy_targets(config, params, target_params, batch, final_steps=None):
    """Targets of the learned steps, [B, K, V]; NaN where they need a final step that was overwritten."""
    params, target_params, batch, final_steps = jax.device_get((params, target_params, batch, final_steps))
    chooser = params if config.double_q else target_params

    def bootstrap(row, t):
        return np.array(_bootstrap(config, chooser, target_params, target_params, batch, row, t))

    def final_value(row, t):
        """Value of the final step of an episode that was truncated with step t: as if the sequence went on with it."""
        number, environments, slots = int(batch.final_step[row, t]), *final_steps.observations.shape[:2]
        environment, count = number % environments, number // environments
        if count < int(final_steps.count[environment]) - slots:
            return np.nan
        at = environment, count % slots
        longer = jax.tree.map(np.copy, batch)
        for name in ("observations", "state", "action_mask"):
            getattr(longer, name)[row, t + 1] = getattr(final_steps, name)[at]
        longer.elapsed[row, t + 1] = batch.elapsed[row, t] + 1
        longer.done[row, t] = False
        own = (
            config
            if config.target != "td_lambda"
            else replace(config, target="q_lambda", double_q=config.replay == "none")
        )
        team = chooser if own is config else target_params  # no action was taken there: the target team's greedy one
        return np.array(_bootstrap(own, team, target_params, target_params, longer, row, t + 1))

    def n_step(row, t, n):
        """Rewards of the steps t to t + n - 1, and the value of the state after them."""
        target, weight = 0.0, 1.0
        for step in range(t, t + n):
            rewards = np.asarray(batch.rewards[row, step], np.float64)
            target = target + weight * (rewards if config.algorithm == "madqn" else rewards.sum())
            if weight and final_steps is not None and batch.final_step[row, step] >= 0:
                target = target + weight * config.gamma * final_value(row, step)
            weight *= config.gamma * (not batch.done[row, step])
        return target + weight * bootstrap(row, t + n)

    def target(row, t):
        if config.target == "n_step":
            return n_step(row, t, config.n_step)
        # The definition: a mixture of the targets of 1 to `longest` steps.
        lambda_, longest = config.td_lambda, config.learned_steps.stop - t
        weights = [(1 - lambda_) * lambda_ ** (n - 1) for n in range(1, longest)] + [lambda_ ** (longest - 1)]
        return sum(weight * n_step(row, t, n) for n, weight in enumerate(weights, start=1))

    steps = range(config.learned_steps.start, config.learned_steps.stop)
    return np.array([[target(row, t) for t in steps] for row in range(len(batch.done))])


def _bootstrap(config, chooser, valuer, mixer, batch, row, t):
    """Value of the state at t: one team chooses among the allowed actions, another values them, a third mixes."""
    values, preferences = (_agent_values(config, params, batch, row, t) for params in (valuer, chooser))
    allowed = np.asarray(batch.action_mask[row, t])
    actions = [max(np.flatnonzero(mask), key=q.__getitem__) for q, mask in zip(preferences, allowed, strict=True)]
    if config.target == "td_lambda":
        actions = np.asarray(batch.actions[row, t])
    return _mixed(config, mixer, batch, row, t, values, actions)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_step": 1},
        {"n_step": 2},
        {"n_step": 3, "double_q": False},
        {"n_step": 2, "double_q": False, "state_clock": False},
        {"n_step": 2, "sequence_length": 4},
        {"n_step": 3, "sequence_length": 2, "double_q": False},
        {"target": "q_lambda", "sequence_length": 4, "td_lambda": 0.7},
        {"target": "q_lambda", "sequence_length": 3, "td_lambda": 0.0, "double_q": False},
        {"target": "td_lambda", "sequence_length": 4, "td_lambda": 0.7},
        {"target": "td_lambda", "sequence_length": 1},
        {"algorithm": "vdn"},
        {"algorithm": "vdn", "target": "q_lambda", "sequence_length": 3},
        {"algorithm": "qplex"},
        {"algorithm": "qplex", "target": "td_lambda", "sequence_length": 3},
        {"algorithm": "iql"},
        {"algorithm": "iql", "target": "q_lambda", "sequence_length": 3, "double_q": False},
        {"algorithm": "madqn", "n_step": 2},
        {"agent": "gru", "n_step": 1},
        {"agent": "gru", "n_step": 2, "sequence_length": 2, "burn_in": 2, "double_q": False},
        {"agent": "gru", "target": "q_lambda", "sequence_length": 3, "burn_in": 1},
        {"replay": "none", "target": "q_lambda", "sequence_length": 4},
        {"replay": "none", "target": "td_lambda", "sequence_length": 3, "algorithm": "qplex"},
        {"replay": "none", "n_step": 2, "sequence_length": 1, "algorithm": "iql"},
        {"replay": "none", "target": "q_lambda", "sequence_length": 3, "algorithm": "vdn", "agent": "gru"},
    ],
    ids=str,
)
def test_the_loss_is_the_slow_one(settings):
    config = _config(**settings)
    params, target_params = _two_parameters(config)
    batch = _batch(config.sample_length, memory_size=config.memory_size if config.replay == "none" else 0)
    predicted = numpy_predictions(config, params, batch)
    if config.replay == "none":
        errors = predicted - numpy_targets(config, params, params, batch)
        target_params = None
    else:
        errors = predicted - numpy_targets(config, params, target_params, batch)
    loss, values = quick_jit(_loss(config))(params, target_params, batch)
    assert values.q_tot.shape == (BATCH, config.sequence_length, 2 if config.algorithm in ("iql", "madqn") else 1)
    assert loss == pytest.approx((errors**2).sum(axis=-1).mean(), rel=1e-4)
    np.testing.assert_allclose(values.td_error, errors, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values.q_tot, predicted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_step": 1},
        {"n_step": 3, "sequence_length": 2},
        {"n_step": 2, "double_q": False, "algorithm": "iql"},
        {"target": "q_lambda", "sequence_length": 4, "td_lambda": 0.7},
        {"target": "td_lambda", "sequence_length": 3, "td_lambda": 0.7, "algorithm": "qplex"},
        {"agent": "gru", "n_step": 3, "sequence_length": 2, "burn_in": 1},
        {"agent": "gru", "target": "q_lambda", "sequence_length": 3, "burn_in": 1},
        {"agent": "gru", "target": "td_lambda", "sequence_length": 2, "algorithm": "vdn"},
        {"agent": "gru", "target": "q_lambda", "sequence_length": 3, "replay": "none", "batch_size": 4},
        {"target": "td_lambda", "sequence_length": 3, "replay": "none", "batch_size": 4},
    ],
    ids=str,
)
def test_the_loss_with_truncations_to_bootstrap_from_is_the_slow_one(settings):
    config = _config(time_limit="bootstrap", num_envs=4, **settings)
    params, target_params = _two_parameters(config)
    if config.replay == "none":
        target_params = params
    batch, final_steps = _truncated(config.sample_length)
    targets = numpy_targets(config, params, target_params, batch, final_steps)
    errors = numpy_predictions(config, params, batch) - targets
    excluded = np.isnan(errors)
    assert excluded.any()
    errors = np.nan_to_num(errors)

    def whole_loss(params, target_params, batch):
        cuts = find_cuts(config, final_steps, batch)
        return _loss(config)(params, target_params, batch, None, None, cuts)

    target_params = None if config.replay == "none" else target_params
    loss, values = quick_jit(whole_loss)(params, target_params, batch)
    np.testing.assert_allclose(values.td_error, errors, rtol=1e-4, atol=1e-4)
    assert loss == pytest.approx((errors**2).sum() / (~excluded[..., 0]).sum(), rel=1e-4)


@pytest.mark.parametrize("agent", ["mlp", "gru"])
def test_without_replay_targets_are_constants(agent):
    """The gradient is that of a loss whose target network equals the online one."""
    config = _config(agent=agent, target="q_lambda", sequence_length=3, double_q=True)
    params, _ = _two_parameters(config)
    batch = _batch(config.sample_length)

    def gradient(config, target_params):
        return quick_jit(jax.grad(lambda params: _loss(config)(params, target_params, batch)[0]))(params)

    expected, found = gradient(config, params), gradient(replace(config, replay="none"), None)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), expected, found)


@pytest.mark.parametrize("algorithm", ["qmix", "cw_qmix", "iql"])
def test_what_is_excluded_does_not_matter(algorithm):
    """Neither to the loss nor to the gradient, Q*'s included."""
    config = _config(time_limit="bootstrap", num_envs=4, algorithm=algorithm)
    params, target_params = _two_parameters(config)
    batch, final_steps = _truncated(config.sample_length)
    known = find_cuts(config, final_steps, batch).known[:, 0]
    assert not known.all()
    other = batch.replace(rewards=jnp.where(known[:, None, None], batch.rewards, 9.0))

    def loss_of(params, batch):
        return _loss(config)(params, target_params, batch, None, None, find_cuts(config, final_steps, batch))[0]

    first, second = (quick_jit(jax.value_and_grad(loss_of))(params, data) for data in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("agent", ["mlp", "gru"])
def test_sequences_of_whole_episodes_leave_out_what_follows_the_end(agent):
    """The mean is over the steps of the first episode; a sequence that does not begin one does not count."""
    config = _config(agent=agent, n_step=1, sequence_length=4, sequence_start="episode")
    params, target_params = _two_parameters(config)
    batch = _batch(config.sample_length)
    elapsed = np.broadcast_to(np.arange(config.sample_length), batch.elapsed.shape).astype(np.uint16).copy()
    elapsed[0] += 1
    batch = batch.replace(elapsed=jnp.asarray(elapsed))
    errors = numpy_predictions(config, params, batch) - numpy_targets(config, params, target_params, batch)
    done = np.asarray(batch.done)[:, :4]
    included = np.cumsum(done, axis=1) - done == 0
    included[0] = False
    assert 0.2 < included.mean() < 0.9
    expected = (errors**2).sum(axis=-1)[included].mean()
    loss, values = quick_jit(_loss(config))(params, target_params, batch)
    assert loss == pytest.approx(expected, rel=1e-4)
    moments = batch_moments(values)
    assert moments.squared_td_error == pytest.approx(expected, rel=1e-4)
    assert moments.td_error == pytest.approx(errors[included].mean(), abs=1e-4)


def _truncated(length):
    """A batch in which half of the ends are truncations, and the final steps of 4 environments, two of each."""
    generator = np.random.default_rng(5)
    finals, batch = random_batch(generator, 4, 2), _batch(length)
    count = np.full(4, 3)  # of three truncations each the first is overwritten
    cut = np.asarray(batch.done) & (np.arange(BATCH)[:, None] % 4 > 0)
    order = np.cumsum(cut).reshape(cut.shape)
    numbers = np.where(cut, order % 3 * 4 + order % 4, -1)
    batch = batch.replace(final_step=jnp.asarray(numbers, jnp.int32))
    final_steps = FinalSteps(finals.observations, finals.state, finals.action_mask, jnp.asarray(count, jnp.int32))
    return batch, final_steps


@pytest.mark.parametrize("double_q", [True, False])
def test_the_metrics_of_an_update(double_q):
    config = _config(double_q=double_q)
    params, target_params = _two_parameters(config)
    batch = _batch(3)
    slow_batch = jax.device_get(batch)
    predicted = numpy_predictions(config, params, batch)
    errors = predicted - numpy_targets(config, params, target_params, batch)
    teams = slow_params, slow_target_params = jax.device_get((params, target_params))
    with_online, with_target = (
        np.array(
            [_bootstrap(config, slow_params, team, slow_target_params, slow_batch, row, 2) for row in range(BATCH)]
        )
        for team in teams
    )
    lag = np.abs(with_online - with_target).mean()
    assert lag > 0.1
    gradient = quick_jit(jax.grad(lambda *args: _loss(config)(*args)[0]))(params, target_params, batch)
    norm = np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(gradient)))
    metrics = _update(config, params, target_params, batch)
    assert metrics.loss == pytest.approx((errors**2).mean(), rel=1e-4)
    assert metrics.td_error == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert metrics.q_value == pytest.approx(predicted.mean(), rel=1e-4, abs=1e-5)
    assert metrics.td_error_std == pytest.approx(np.sqrt(((errors - errors.mean()) ** 2).mean()), rel=1e-4)
    assert metrics.target_lag == pytest.approx(lag if double_q else 0.0, rel=1e-3)
    assert metrics.grad_norm == pytest.approx(norm, rel=1e-4)


def test_an_update_is_clipped_above_the_limit_and_not_below():
    config = _config()
    params, target_params = _two_parameters(config)
    norm = float(_update(config, params, target_params, _batch(3), max_grad_norm=1e3).grad_norm)
    for limit, clipped in ((0.5 * norm, 1.0), (2.0 * norm, 0.0)):
        metrics = _update(config, params, target_params, _batch(3), max_grad_norm=limit)
        assert metrics.grad_norm == pytest.approx(norm, rel=1e-5)  # of the gradient before clipping
        assert metrics.clipped == clipped


def test_a_fresh_copy_does_not_lag():
    config = _config()
    params, _ = _two_parameters(config)
    assert _update(config, params, params, _batch(3)).target_lag == 0.0


def _update(config, params, target_params, batch, **traced):
    """Metrics of one update; one program serves all values of settings `traced`."""

    def update(state, sample, traced):
        return make_single_update(make_learner(config.traced(traced), SPEC))(state, sample)[1]

    shapes = jax.eval_shape(make_learner(config, SPEC).init, jax.random.key(0))
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return quick_jit(update)(state.replace(params=params, target_params=target_params), uniform(batch), traced)


def test_double_q_and_masks_make_a_difference_here():
    """Otherwise the comparisons above would prove nothing about them."""
    config = _config()
    params, target_params = _two_parameters(config)
    batch = _batch(3)
    right = numpy_targets(config, params, target_params, batch)
    single = numpy_targets(_config(double_q=False), params, target_params, batch)
    unmasked = batch.replace(action_mask=jnp.ones_like(batch.action_mask))
    assert not np.allclose(right, single)
    assert not np.allclose(right, numpy_targets(config, params, target_params, unmasked))


def test_the_gradient_treats_the_target_as_a_constant():
    """Along a random direction, against the slope of the slow loss with its targets held fixed."""
    config = _config()
    params, target_params = _two_parameters(config)
    batch = _batch(3)
    gradient, target_gradient = quick_jit(jax.grad(lambda *args: _loss(config)(*args)[0], (0, 1)))(
        params, target_params, batch
    )
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(target_gradient))
    targets = numpy_targets(config, params, target_params, batch)
    direction = randomize(params, 3)

    def slow_loss(step):
        moved = jax.tree.map(lambda p, d: np.asarray(p, np.float64) + step * np.asarray(d), params, direction)
        return ((numpy_predictions(config, moved, batch) - targets) ** 2).mean()

    slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    assert slope == pytest.approx((slow_loss(1e-5) - slow_loss(-1e-5)) / 2e-5, rel=1e-3)


@pytest.mark.parametrize("n_step", [1, 3])
def test_only_an_end_inside_the_window_masks_the_bootstrap(n_step):
    """What follows the window counts, unless a step of the window ended its episode; the step after it has no say."""
    config = _config(n_step=n_step)
    params, target_params = _two_parameters(config)
    loss = quick_jit(_loss(config))
    batch = random_batch(np.random.default_rng(0), 1, n_step + 1)
    other_end = random_batch(np.random.default_rng(1), 1, n_step + 1)
    last = jnp.arange(n_step + 1) == n_step

    def after_window(new, old):
        return jnp.where(last.reshape(1, -1, *[1] * (old.ndim - 2)), new, old)

    changed = jax.tree.map(after_window, other_end, batch)
    for end in range(-1, n_step + 1):  # -1: none
        done = (jnp.arange(n_step + 1) == end)[None]
        losses = [loss(params, target_params, b.replace(done=done))[0] for b in (batch, changed)]
        assert (losses[0] == losses[1]) == (0 <= end < n_step), end


def test_masks_are_optional():
    """An environment that masks nothing stores no masks, and learns as from masks that allow everything."""
    config = _config()
    params, target_params = _two_parameters(config)
    batch = _batch(3)
    everything = batch.replace(action_mask=jnp.ones_like(batch.action_mask))
    loss = quick_jit(_loss(config))
    expected = float(loss(params, target_params, everything)[0])
    assert loss(params, target_params, batch.replace(action_mask=None))[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("algorithm", ["qmix", "vdn", "iql", "qplex", "ow_qmix"])
def test_an_agent_without_any_allowed_action_counts_with_nothing(algorithm):
    """As a dead one: whatever its network says, neither the loss nor any gradient hears of it."""
    config = _config(algorithm=algorithm, central_sizes=(4,))
    params, target_params = _two_parameters(config)
    batch = _batch(3)
    batch = batch.replace(
        action_mask=batch.action_mask.at[:, :, 1].set(False), actions=batch.actions.at[:, :, 1].set(0)
    )
    step = quick_jit(jax.value_and_grad(lambda *args: _loss(config)(*args)[0]))
    loss, gradient = step(params, target_params, batch)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, gradient)))
    assert all(not leaf[1].any() for leaf in jax.tree.leaves(gradient["agents"]))
    other = jax.tree.map(lambda leaf: leaf.at[1].add(1.0), params["agents"])
    assert step({**params, "agents": other}, target_params, batch)[0] == loss


def _numpy_optimizer(gradients, start, config):
    """PyTorch's optimisers after clipping, with the decayed rate; weight decay is L2 in the gradient, but for AdamW."""
    params, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for count, gradient in enumerate(gradients, start=1):
        clipped = gradient * min(1.0, config.max_grad_norm / np.linalg.norm(gradient))
        decay = config.weight_decay * params
        if config.optimizer != "adamw":
            clipped, decay = clipped + decay, 0.0
        mean = 0.9 * mean + 0.1 * clipped
        forget = 0.99 if config.optimizer == "rmsprop" else 0.999
        square = forget * square + (1 - forget) * clipped**2
        corrected = mean / (1 - 0.9**count), square / (1 - 0.999**count)
        direction = corrected[0] / (np.sqrt(corrected[1]) + config.optimizer_epsilon)
        if config.optimizer == "rmsprop":
            direction = clipped / (np.sqrt(square) + config.optimizer_epsilon)
        if config.optimizer == "radam":  # Liu et al. 2020, algorithm 2
            longest = 2 / (1 - 0.999) - 1
            length = longest - 2 * count * 0.999**count / (1 - 0.999**count)
            direction = corrected[0]
            if length >= 5:
                numerator = (length - 4) * (length - 2) * longest
                rectified = np.sqrt(numerator / ((longest - 4) * (longest - 2) * length))
                direction = rectified * corrected[0] / (np.sqrt(corrected[1]) + config.optimizer_epsilon)
        fraction = min((count - 1) / config.total_updates, 1.0)
        end = config.lr_end_fraction
        params = params - config.lr * (end + (1 - end) * (1 - fraction)) * (direction + decay)
    return params


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_grad_norm": 0.5},  # clips some of the gradients below, but not all
        {"weight_decay": 0.1},
        {"max_grad_norm": 0.5, "weight_decay": 0.1, "lr_end_fraction": 1.0, "optimizer_epsilon": 0.01},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "rmsprop", "weight_decay": 0.1, "optimizer_epsilon": 1e-5},
        {"optimizer": "radam", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_the_optimizer_is_the_slow_one(settings):
    config = _config(num_envs=1, total_steps=18, min_buffer_size=8, train_frequency=1, lr=0.1, **settings)
    assert config.total_updates == 10
    generator = np.random.default_rng(0)
    gradients = [generator.normal(0, scale, 5) for scale in (0.01, 10.0, 0.1, 3.0, 0.03, 1.0, 0.2, 0.1, 0.1, 2.0, 1.0)]
    start = generator.normal(size=5)
    optimizer = make_optimizer(config)

    def tree(vector):  # the norm is over all parameters together
        return {"mixer": jnp.asarray(vector[:2], jnp.float32), "agents": jnp.asarray(vector[2:], jnp.float32)}

    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integers with floats
        step = jax.jit(optimizer.update)
        params = tree(start)
        state = optimizer.init(params)
        for count, gradient in enumerate(gradients):
            direction, state = step(tree(gradient), state, params)
            rate = learning_rate(config, initial_schedule(config), jnp.int32(count))
            params = jax.tree.map(lambda p, d, rate=rate: p - rate * d, params, direction)
    result = np.concatenate([params["mixer"], params["agents"]])
    np.testing.assert_allclose(result, _numpy_optimizer(gradients, start, config), rtol=1e-4, atol=1e-5)


def test_a_run_without_updates_has_an_optimizer_too():
    config = _config(num_envs=1, total_steps=100, min_buffer_size=100)
    assert config.total_updates == 0
    make_optimizer(config).init({"agents": jnp.zeros(2)})


def test_targets_are_copied_at_every_interval_and_not_between():
    config = _config(target_update_interval=3, lr=1e-2, num_envs=1, min_buffer_size=8)
    learner = make_learner(config, SPEC)
    state = quick_jit(learner.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.params, state.target_params)
    update = quick_jit(make_single_update(learner))
    for count in range(1, 8):
        batch = _batch(3, seed=count)
        previous, (state, *_) = state, update(state, uniform(batch))
        assert state.updates == count
        assert not _equal(state.params, previous.params)
        expected = state.params if count % 3 == 0 else previous.target_params
        jax.tree.map(np.testing.assert_array_equal, state.target_params, expected)


def test_soft_copies_move_the_target_a_share_of_the_way():
    config = _config(target_update_interval=2, target_tau=0.25, lr=1e-2, num_envs=1, min_buffer_size=8)
    learner = make_learner(config, SPEC)
    state = quick_jit(learner.init)(jax.random.key(0))
    update = quick_jit(make_single_update(learner))
    for count in range(1, 5):
        previous, (state, *_) = state, update(state, uniform(_batch(3, seed=count)))
        share = 0.25 if count % 2 == 0 else 0.0
        expected = jax.tree.map(
            lambda old, new, share=share: old + share * (new - old), previous.target_params, state.params
        )
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), state.target_params, expected)


def test_rewards_are_scaled_before_they_are_learnt():
    params, target_params = _two_parameters(_config())
    batch = _batch(3)
    scaled = batch.replace(rewards=2.5 * batch.rewards)
    expected = quick_jit(_loss(_config()))(params, target_params, scaled)[0]
    assert quick_jit(_loss(_config(reward_scale=2.5)))(params, target_params, batch)[0] == pytest.approx(expected)


def _equal(first, second):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: (np.asarray(x) == np.asarray(y)).all(), first, second)))


def test_the_bootstrap_uses_the_target_network():
    """Other target parameters: another loss, except where every window holds an end."""
    config = _config()
    params, target_params = _two_parameters(config)
    batch, loss = _batch(3), quick_jit(_loss(config))
    assert loss(params, params, batch)[0] != loss(params, target_params, batch)[0]
    ended = batch.replace(done=jnp.ones_like(batch.done))
    assert loss(params, params, ended)[0] == loss(params, target_params, ended)[0]


@pytest.mark.parametrize("length", [2, 4])
def test_sequences_of_another_length_are_refused(length):
    config = _config()
    params, target_params = _two_parameters(config)
    with pytest.raises(AssertionError):
        jax.eval_shape(_loss(config), params, target_params, _batch(length))


def test_select_actions():
    q_values = jnp.arange(12.0).reshape(2, 2, 3)  # [N, B, A]
    actions = jnp.array([[0, 2], [1, 0]], jnp.int8)
    np.testing.assert_array_equal(select_actions(q_values, actions), [[0, 5], [7, 9]])
    gradient = jax.grad(lambda q: select_actions(q, actions).sum())(q_values)
    np.testing.assert_array_equal(gradient, np.eye(3)[np.asarray(actions)])
