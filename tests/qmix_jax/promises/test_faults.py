"""NaN and infinity in rewards, observations and gradients: never in parameters, counted, and in the end fatal."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import SPEC, make_single_update, make_stubs, quick_jit, random_batch, randomize, small_config, uniform
from jax.sharding import Mesh, PartitionSpec
from probes import ConstantReward, Corridor

from qmix_jax.analysis.run_record import has_diverged
from qmix_jax.errors import DivergedError
from qmix_jax.learning import learner as learner_module
from qmix_jax.learning.devices import AXIS
from qmix_jax.learning.faults import QUANTITIES, init_faults, judge_update
from qmix_jax.learning.learner import make_learner
from qmix_jax.runs import runner
from qmix_jax.runs.compilation import Programs, snapshot
from qmix_jax.runs.recorder import Recorder
from qmix_jax.storage.checkpoint import checkpoints, load_params
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.logs import read_log
from qmix_jax.training.evaluation import evaluation_key
from qmix_jax.training.pinning import seed_key
from qmix_jax.training.trainer import make_trainer, vector_step
from qmix_jax.types import Faults, UpdateMetrics

UNCHECKED = partial(runner.run, check=False)  # else rewards that are not finite are refused
TINY = {"hidden_sizes": (4,), "mixing_size": 2, "hypernet_size": 2, "n_step": 1}
BATCH = 4
BROKEN = 100  # in a batch's first action: its loss is finite, its gradient is not


def numbers(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same_bits(first, second):
    for x, y in zip(numbers(first), numbers(second), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


def changed(first, second):
    return any((x != y).any() for x, y in zip(numbers(first), numbers(second), strict=True))


@jax.custom_vjp
def break_gradient(value, broken):
    """Return the value; its gradient is NaN where it is broken."""
    return value


break_gradient.defvjp(
    lambda value, broken: (value, broken), lambda broken, slope: (jnp.where(broken, jnp.nan, slope), None)
)


def make_breakable_learner(**settings):
    """Targets are copied at every update, the learning rate stays, three bad updates end it."""
    constant = {"target_update_interval": 1, "lr_end_fraction": 1.0, "max_bad_updates": 3}
    make_loss = learner_module.make_loss

    def make_breakable_loss(config, networks):
        loss = make_loss(config, networks)

        def breakable(params, target_params, batch, *others):
            value, values = loss(params, target_params, batch, *others)
            return break_gradient(value, batch.first.actions[0, 0, 0] == BROKEN), values

        return breakable

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learner_module, "make_loss", make_breakable_loss)
        return make_learner(small_config(**TINY, **constant, **settings), SPEC)


def make_update(**settings):
    """Return its update as a function of the state and uniformly drawn sequences, without the new priorities."""
    learner = make_breakable_learner(**settings)
    return lambda state, batch: make_single_update(learner)(state, uniform(batch))[:2]


@pytest.fixture(scope="module")
def update():
    return quick_jit(make_update())


@pytest.fixture(scope="module")
def start(update):
    """A state in the middle of a run: Adam remembers something, and the targets are not the parameters."""
    shapes = jax.eval_shape(make_breakable_learner().init, jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state, _ = update(zeros.replace(params=randomize(zeros.params)), good_batch())
    return state.replace(target_params=randomize(zeros.params, seed=1))


def good_batch(seed=0):
    return random_batch(np.random.default_rng(seed), BATCH, TINY["n_step"] + 1)


def poisoned(name, position, value, seed=0):
    batch = good_batch(seed)
    return batch.replace(**{name: getattr(batch, name).at[position].set(value)})


LOSS, GRADIENT = (QUANTITIES.index(name) for name in ("loss", "gradient"))
POISONS = {
    "a NaN reward": (poisoned("rewards", (0, 0, 0), jnp.nan), LOSS),
    "an infinite reward": (poisoned("rewards", (0, 0, 1), -jnp.inf), LOSS),
    "a reward whose square overflows": (poisoned("rewards", (0, 0, 0), 1e20), LOSS),
    "a NaN observation": (poisoned("observations", (1, 0, 0, 0), jnp.nan), LOSS),
    "an infinite observation": (poisoned("observations", (1, 0, 1, 0), jnp.inf), LOSS),
    "a NaN observation in the bootstrap": (poisoned("observations", (2, 1, 0, 1), jnp.nan), LOSS),
    "a NaN state": (poisoned("state", (3, 0, 0), jnp.nan), LOSS),
    "a gradient whose norm overflows": (poisoned("rewards", (slice(None), 0), 4.5e18), GRADIENT),
    "a NaN gradient": (poisoned("actions", (0, 0, 0), BROKEN), GRADIENT),
}


@pytest.mark.parametrize("name", POISONS)
def test_a_bad_update_changes_nothing_but_the_counts(update, start, name):
    batch, quantity = POISONS[name]
    state, metrics = update(start, batch)
    for part in ("params", "target_params", "optimizer_state", "schedule"):
        assert_same_bits(getattr(state, part), getattr(start, part))
    assert_same_bits(metrics, UpdateMetrics(*[np.float32(0)] * len(UpdateMetrics._fields)))
    assert jax.device_get(state.faults) == Faults(skipped=1, streak=1, since=1, quantity=quantity)
    assert state.updates == start.updates + 1 == 2


def test_a_good_update_changes_everything(update, start):
    """Otherwise the test above would prove nothing."""
    state, metrics = update(start, good_batch())
    for part in ("params", "target_params", "optimizer_state"):
        assert changed(getattr(state, part), getattr(start, part))
    assert_same_bits(state.params, state.target_params)
    assert all(metrics._asdict()[name] > 0 for name in ("loss", "td_error", "grad_norm"))
    assert_same_bits(state.faults, start.faults)


def test_training_goes_on_as_if_a_bad_update_had_not_been(update, start):
    with_bad, without = start, start
    for seed, (bad, _) in enumerate(POISONS.values()):
        with_bad, without = (update(state, good_batch(seed))[0] for state in (with_bad, without))
        with_bad, _ = update(with_bad, bad)
    for part in ("params", "target_params", "optimizer_state"):
        assert_same_bits(getattr(with_bad, part), getattr(without, part))
    assert optax.tree_utils.tree_get(with_bad.optimizer_state, "count") == 1 + len(POISONS)
    assert with_bad.updates == 1 + 2 * len(POISONS)
    assert with_bad.faults.skipped == len(POISONS)


def test_a_streak_is_told_from_its_first_bad_update_on_and_broken_by_a_good_one(update, start):
    loss, gradient, good = POISONS["a NaN reward"][0], POISONS["a NaN gradient"][0], good_batch()
    state = start
    for batch, expected in [
        (loss, (1, 1, 1, LOSS)),
        (gradient, (2, 2, 1, LOSS)),
        (good, (2, 0, 1, LOSS)),
        (gradient, (3, 1, 4, GRADIENT)),
        (loss, (4, 2, 4, GRADIENT)),
        (loss, (5, 3, 4, GRADIENT)),
    ]:
        state, _ = update(state, batch)
        assert jax.device_get(state.faults) == Faults(*expected)
    stopped, metrics = update(state, good)  # after three in a row even a good one comes too late
    assert_same_bits(stopped.replace(updates=0, faults=0), state.replace(updates=0, faults=0))
    assert jax.device_get(stopped.faults) == Faults(6, 4, 4, GRADIENT)
    assert metrics.loss == 0


def test_counting_is_the_slow_one():
    faults, skipped, streak, since, quantity = init_faults(), 0, 0, 0, 0
    losses, norms = np.random.default_rng(0).choice(np.float32([1, 1, 1, np.nan, np.inf]), (2, 60))
    for update, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        usable, faults = judge_update(faults, jnp.int32(update), jnp.asarray(loss), jnp.asarray(norm), 5)
        good = bool(np.isfinite([loss, norm]).all()) and streak < 5
        if not good and streak == 0:
            since, quantity = update, GRADIENT if np.isfinite(loss) else LOSS
        streak = 0 if good else streak + 1
        skipped += not good
        assert usable == good
        assert jax.device_get(faults) == Faults(skipped, streak, since, quantity)
    assert (streak, skipped) > (5, 20)


def test_one_seed_s_bad_update_is_not_another_s(start):
    """Of seeds that are trained together."""
    batches = [POISONS["a NaN reward"][0], good_batch()]
    states = jax.tree.map(lambda x: jnp.stack([x, x]), start)
    together = quick_jit(jax.vmap(make_update()))(states, jax.tree.map(lambda *x: jnp.stack(x), *batches))[0]
    bad, good = (jax.tree.map(lambda x, seed=seed: x[seed], together) for seed in range(2))
    for part in ("params", "target_params", "optimizer_state"):
        assert_same_bits(getattr(bad, part), getattr(start, part))
        assert changed(getattr(good, part), getattr(start, part))
    assert_same_bits(good.target_params, good.params)
    assert together.faults.skipped.tolist() == [1, 0]


def test_one_device_s_bad_share_is_skipped_by_all(start):
    whole, share = PartitionSpec(), PartitionSpec(AXIS)
    mesh = Mesh(np.array(jax.devices()[:2]), (AXIS,))
    split = make_update(num_devices=2)
    update = jax.shard_map(split, mesh=mesh, in_specs=(whole, share), out_specs=(whole, whole), check_vma=False)
    state, _ = quick_jit(update)(start, POISONS["a NaN state"][0])  # in the last row: the second device's share
    for part in ("params", "target_params", "optimizer_state"):
        for leaf, old in zip(*(jax.tree.leaves(getattr(s, part)) for s in (state, start)), strict=True):
            assert all(np.array_equal(shard.data, old) for shard in leaf.addressable_shards)
    assert [int(shard.data) for shard in state.faults.skipped.addressable_shards] == [1, 1]


def test_means_count_only_updates_that_were_made():
    """With a learner that makes four updates after every step, and skips every third of them."""
    steps, envs = 20, 4
    config = small_config(num_envs=envs, total_steps=steps * envs, min_buffer_size=0, train_frequency=1, n_step=1)
    env = Corridor()

    def init(key):
        state = make_trainer(config, env).init(key)
        return state.replace(learner=state.learner.replace(params=(), target_params=(), optimizer_state=()))

    def update(state, _):
        skip = state.updates % 3 == 0
        metrics = UpdateMetrics(*[jnp.where(skip, 0.0, state.updates.astype(jnp.float32))] * len(UpdateMetrics._fields))
        faults = state.faults.replace(skipped=state.faults.skipped + skip.astype(jnp.int32))
        return state.replace(updates=state.updates + 1, faults=faults), metrics, jnp.ones(8)

    learner, replay = make_stubs(init, update, lambda numbers: numbers, envs)

    def run(key):
        return jax.lax.scan(lambda s, _: vector_step(config, env, learner, replay, s), init(key), length=steps)

    state, log = quick_jit(run)(jax.random.key(0))
    first = config.first_update_step // envs  # vector steps without updates
    assert state.learner.updates == (steps - first) * envs
    made = [[i for i in range(envs * (t - first), envs * (t - first + 1)) if i >= 0 and i % 3] for t in range(steps)]
    expected = [np.mean(updates) if updates else 0.0 for updates in made]
    np.testing.assert_allclose(log.step_updates.loss, expected, rtol=1e-6)
    finished = np.argwhere(log.finished)
    assert len(finished) > steps
    for t, env_number in finished:
        during = np.concatenate(made[t + 1 - int(log.episode_length[t, env_number]) : t + 1])
        mean = np.mean(during) if len(during) else 0.0
        assert log.num_updates[t, env_number] == len(during)
        assert log.updates.loss[t, env_number] == pytest.approx(mean, rel=1e-6)


@dataclass(frozen=True)
class Flaky(ConstantReward):
    """Every sixth episode pays NaN, and in every sixth other one an agent sees NaN."""

    def rewards(self, state, actions):
        flaky = (state.place == 0) & (state.cue > 0)
        return jnp.where(flaky, jnp.nan, super().rewards(state, actions))

    def observations(self, state):
        flaky = (state.place == 1) & (state.cue < 0)
        return super().observations(state).at[1, 0].set(jnp.where(flaky, jnp.nan, 1.0))


FLAKY = small_config(
    **TINY,
    num_envs=8,
    total_steps=8 * 60,
    eval_interval=8 * 5,
    buffer_capacity=8 * 60,
    min_buffer_size=16,
    train_frequency=1,
    batch_size=2,
    lr=0.02,
    target_update_interval=10,
    max_bad_updates=25,
    eval_episodes=4,
    save_interval=80,
)


@pytest.fixture(scope="module")
def programs():
    trainer = make_trainer(FLAKY, Flaky())

    def init(key):  # plain random numbers: the real ones take four seconds to compile
        state = trainer.init(key)
        params = randomize(state.learner.params, scale=0.2)
        return state.replace(learner=state.learner.replace(params=params, target_params=jax.tree.map(jnp.copy, params)))

    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), jax.eval_shape(init, jax.random.key(0)))
    first, evaluate = quick_jit(init), quick_jit(trainer.evaluate)
    return Programs(
        lambda: first(seed_key(FLAKY.seed)),
        quick_jit(trainer.train_chunk, donate_argnums=0).lower(state).compile(),
        lambda params: evaluate(params, evaluation_key(seed_key(FLAKY.seed))),
        quick_jit(snapshot),
        None,
    )


@pytest.fixture
def run_flaky(monkeypatch, tmp_path, programs):
    """Run or resume with these programs, or such that differ in some."""

    def run(begin, *arguments, **others):
        monkeypatch.setattr(runner, "compile_programs", lambda trainer, *keys: programs._replace(**others))
        return begin(*arguments, environment=Flaky())

    return run


def test_occasional_nan_costs_only_the_updates_that_met_it(run_flaky, tmp_path, capsys):
    """So many that the run counts as diverged, and is whole nevertheless."""
    with pytest.raises(DivergedError, match=r"\d+ of 464 updates skipped, more than 10%: ") as caught:
        run_flaky(UNCHECKED, replace(FLAKY, results_dir=str(tmp_path)))
    assert caught.value.exit_status == 3
    assert "of 464 updates skipped: their loss or gradient was not finite" in capsys.readouterr().out
    directory = tmp_path / "run_1"
    assert has_diverged(RunDirectory(directory))
    rows = read_log(directory / "diagnostics_log.csv")
    assert rows["updates"][-1] == FLAKY.total_updates == 464
    assert 100 < rows["skipped"][-1] < 400
    assert all(np.isfinite(rows[name]).all() for name in ("q_value", "grad_norm", "td_error_std"))
    assert rows["q_value"][-1] == pytest.approx(1.0, abs=0.1)  # what every episode is worth
    episodes = read_log(directory / "training_log.csv")
    assert np.isfinite(episodes["loss"]).mean() > 0.8  # the others met no good update
    assert 0.05 < np.isnan(episodes["episode_return"]).mean() < 0.3
    last, first = load_params(directory), load_params(directory, "checkpoint_ep0")
    assert all(np.isfinite(leaf).all() for leaf in numbers(last))
    assert changed(last, first)


class Poison:
    """Chunks that find every reward in replay replaced from the sixth on, once the latest update was a good one."""

    def __init__(self, programs, reward):
        self._chunk, self._reward = programs.train_chunk, reward
        self.since = self.params = None

    def train_chunk(self, state):
        if self.since is None and state.vector_step >= 25 and state.learner.faults.streak == 0:
            self.since = int(state.learner.updates)
            self.params = jax.device_get(state.learner.params)
            seen = state.replay.experience
            seen = seen.replace(
                rewards=jnp.full_like(seen.rewards, self._reward), observations=jnp.ones_like(seen.observations)
            )
            state = state.replace(replay=state.replay.replace(experience=seen))
        return self._chunk(state)


@pytest.mark.parametrize(("reward", "quantity"), [(jnp.nan, "loss"), (6e18, "gradient")])
def test_a_run_that_diverged_says_why_and_can_be_resumed_from_before(
    run_flaky, programs, monkeypatch, tmp_path, capsys, reward, quantity
):
    monkeypatch.setattr(Recorder, "plot", lambda *_: None)  # slow, and not what is asked here
    poison = Poison(programs, reward)
    with pytest.raises(DivergedError) as caught:
        run_flaky(UNCHECKED, replace(FLAKY, results_dir=str(tmp_path)), train_chunk=poison.train_chunk)
    directory = tmp_path / "run_1"
    models = directory / "models"
    streak = int(read_log(directory / "diagnostics_log.csv")["updates"][-1]) - poison.since
    assert f"the {quantity} was not finite from update {poison.since} on, {streak} times in a row" in str(caught.value)
    assert f"{models}/diverged_ep" in str(caught.value)
    assert streak >= FLAKY.max_bad_updates
    assert caught.value.exit_status == 3
    assert capsys.readouterr().out.splitlines()[-1] == f"run directory: {directory}"

    (diverged,) = models.glob("diverged_ep*")
    assert diverged.name == f"diverged_ep{len(read_log(directory / 'training_log.csv')['loss'])}"
    assert_same_bits(load_params(directory, diverged.name), poison.params)
    assert all(np.isfinite(leaf).all() for leaf in numbers(poison.params))
    with np.load(diverged / "resume.npz") as saved:
        assert saved["state/learner/faults/since"] == poison.since
        assert saved["state/replay/experience/rewards"].shape[:2] == (8, 60)

    newest = checkpoints(models)[0].name
    assert newest != diverged.name
    with pytest.raises(DivergedError, match="of 464 updates skipped"):  # this environment's own, see above
        run_flaky(runner.resume_run, directory)
    assert f"resuming {newest}: " in capsys.readouterr().out
    assert read_log(directory / "diagnostics_log.csv")["updates"][-1] == FLAKY.total_updates
