"""Pictures of other libraries' environments, drawn by their own viewers without a screen."""

from functools import partial

import jax
import numpy as np
import pytest
from matplotlib import pyplot

from env_jax.foreign import jaxmarl as from_jaxmarl
from env_jax.foreign import jumanji as from_jumanji
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


@pytest.mark.parametrize("name", ["hanabi", "switch_riddle"])
def test_what_the_library_only_prints_has_no_pictures(name):
    assert from_jaxmarl.make(name, 50).spec.render is None
