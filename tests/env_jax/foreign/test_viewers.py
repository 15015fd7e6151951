"""Pictures of other libraries' environments, drawn by their own viewers without a screen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jumanji.environments.routing.lbf.constants import MOVES
from matplotlib import pyplot

from env_jax.foreign import jaxmarl as from_jaxmarl
from env_jax.foreign import jumanji as from_jumanji
from env_jax.foreign.contract import library_style
from env_jax.picture import draw_state

# These programs run for milliseconds and compile for seconds.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize(
    ("adapter", "name"),
    [
        (from_jaxmarl, "MPE_simple_spread_v3"),
        (from_jaxmarl, "MPE_simple_reference_v3"),
        (from_jaxmarl, "HeuristicEnemySMAX"),
        (from_jaxmarl, "overcooked"),
        (from_jaxmarl, "overcooked_v2"),
        (from_jumanji, "LevelBasedForaging-v0"),
        (from_jumanji, "RobotWarehouse-v0"),
    ],
)
@pytest.mark.filterwarnings("ignore:OvercookedV2 is now released")
def test_it_draws_its_states(adapter, name, capsys):
    environment = adapter.make(name, 50)
    keys = jax.random.split(jax.random.key(0), 2)
    starts, _ = quick_jit(jax.vmap(environment.reset))(keys)
    capsys.readouterr()
    one, other = (draw_state(environment, jax.tree.map(lambda x, k=k: x[k], starts)) for k in range(2))
    assert one.shape == other.shape
    assert min(one.shape[:2]) >= 100
    if not name.startswith("overcooked"):  # whose starts are all alike
        assert (one != other).any()
    assert len(np.unique(one.reshape(-1, 3), axis=0)) > 2
    assert pyplot.get_fignums() == []
    assert capsys.readouterr() == ("", "")


def test_a_viewer_leaves_the_users_figures_and_backend_alone():
    environment = from_jumanji.make("LevelBasedForaging-v0", 50)
    state, _ = quick_jit(environment.reset)(jax.random.key(0))
    mine, backend = pyplot.figure(), pyplot.get_backend()
    draw_state(environment, state)
    assert pyplot.get_fignums() == [mine.number]
    assert pyplot.get_backend() == backend
    pyplot.close(mine)


def compass(forces):
    """What each force [A, 2], x and y, is called."""
    names = {(0, 0): "stay", (-1, 0): "left", (1, 0): "right", (0, -1): "down", (0, 1): "up"}
    return [names[tuple(direction)] for direction in np.sign(np.round(np.asarray(forces), 3)).astype(int).tolist()]


def test_moves_are_named_as_they_are_drawn():
    with library_style():
        _check_moves()


def _check_moves():
    spread = from_jaxmarl.make("MPE_simple_spread_v3", 25)
    forces = spread.environment._decode_discrete_action(jnp.zeros(5, jnp.int32), jnp.arange(5))[0]
    assert compass(forces) == list(spread.spec.action_names) == ["stay", "left", "right", "down", "up"]
    reference = from_jaxmarl.make("MPE_simple_reference_v3", 25)
    forces, said = reference.environment._decode_discrete_action(jnp.zeros(50, jnp.int32), jnp.arange(50))
    spoken = [f"{move}, say {word}" for move, word in zip(compass(forces), np.argmax(said, axis=1), strict=True)]
    assert spoken == list(reference.spec.action_names)
    smax = from_jaxmarl.make("HeuristicEnemySMAX", 100)
    moves, attacks = smax.environment._env._decode_discrete_actions(jnp.arange(10))
    assert ["stop" if move == "stay" else move for move in compass(moves)[:5]] == list(smax.spec.action_names[:5])
    assert attacks.tolist() == [0] * 5 + [5, 6, 7, 8, 9]
    assert smax.spec.action_names[5:] == tuple(f"attack {enemy}" for enemy in range(5))
    foraging = from_jumanji.make("LevelBasedForaging-v0", 50)
    rows_go_down = MOVES[:, ::-1] * jnp.array([1, -1])
    assert compass(rows_go_down)[:5] == list(foraging.spec.action_names[:5])


@pytest.mark.parametrize("name", ["hanabi", "switch_riddle"])
def test_what_the_library_only_prints_has_no_pictures(name):
    assert from_jaxmarl.make(name, 50).spec.render is None
