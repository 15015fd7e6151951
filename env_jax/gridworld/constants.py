"""The fixed sizes of GridWorld25 and the meaning of its actions."""

GRID_SIZE = 25  # cells along each side
NUM_CELLS = GRID_SIZE * GRID_SIZE
NUM_AGENTS = 4
NUM_FOODS = 4
NUM_FOOD_SLOTS = 3  # foods that an agent sees at once
OBSERVATION_SIZE = 18

STAY, UP, DOWN, LEFT, RIGHT, COLLECT = range(6)
NUM_ACTIONS = 6
ACTION_NAMES = ("stay", "up", "down", "left", "right", "collect")
