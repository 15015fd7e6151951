"""Situations of the home environment that hypothesis draws, and joint actions to play in them."""

from hypothesis import strategies as st
from numpy_gridworld import NumpyGridWorld

MAX_STEPS = 6


@st.composite
def starts(draw):
    """Any state at all: objects in a square of any size and place, some foods gone, agents possibly sharing cells."""
    side = draw(st.sampled_from([2, 3, 4, 6, 25]))
    corner = draw(st.tuples(*[st.sampled_from([0, 25 - side])] * 2))
    cell = st.tuples(*[st.integers(low, low + side - 1) for low in corner])
    return NumpyGridWorld(
        agents=draw(st.lists(cell, min_size=4, max_size=4)),
        foods=draw(st.lists(cell, min_size=4, max_size=4)),
        present=draw(st.lists(st.booleans(), min_size=4, max_size=4)),
        step_count=draw(st.integers(0, MAX_STEPS)),
        max_steps=MAX_STEPS,
    )


actions = st.one_of(st.integers(0, 5), st.integers(1, 5), st.sampled_from([-99, -1, 6, 100]))
episodes = st.lists(st.lists(actions, min_size=4, max_size=4), min_size=1, max_size=8)
