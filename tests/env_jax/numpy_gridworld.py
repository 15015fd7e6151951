"""GridWorld25v0 once more in plain NumPy, loop by loop as the rules are worded: the oracle of the tests.

Slow and written independently of `env_jax`. Positions are lists of (x, y); nothing is vectorised on purpose.
"""

from dataclasses import dataclass

import numpy as np

SIZE = 25
MOVES = {1: (0, -1), 2: (0, 1), 3: (-1, 0), 4: (1, 0)}
NEIGHBOUR = {0: 1, 1: 0, 2: 0, 3: 1}


@dataclass
class NumpyGridWorld:
    agents: list
    foods: list
    present: list
    step_count: int
    max_steps: int

    def step(self, actions):
        """Return (observations float32[4, 18], rewards float32[4], terminated, truncated)."""
        proposals = [self._proposal(i, action) for i, action in enumerate(actions)]
        blocked = [self._is_blocked(i, proposals) for i in range(4)]
        self.agents = [self.agents[i] if blocked[i] else proposals[i] for i in range(4)]

        rewards = np.zeros(4, np.float32)
        present_before = list(self.present)
        for f in range(4):
            for i in range(4):
                if present_before[f] and self.agents[i] == self.foods[f]:
                    rewards[i] += 1
                    self.present[f] = False

        self.step_count += 1
        terminated = not any(self.present)
        truncated = not terminated and self.step_count >= self.max_steps
        if truncated:
            rewards -= np.float32(0.5 * sum(self.present))
        return self.observe(), rewards, terminated, truncated

    def observe(self):
        """Return float32[4, 18]."""
        return np.array([self._view(i) for i in range(4)], np.float32)

    def _proposal(self, i, action):
        x, y = self.agents[i]
        if action in MOVES:
            new_x, new_y = x + MOVES[action][0], y + MOVES[action][1]
            if 0 <= new_x < SIZE and 0 <= new_y < SIZE:
                return (new_x, new_y)
        if action == 5:
            for f in range(4):
                food_x, food_y = self.foods[f]
                if self.present[f] and abs(x - food_x) + abs(y - food_y) == 1:
                    return (food_x, food_y)
        return (x, y)

    def _is_blocked(self, i, proposals):
        for j in range(4):
            if j == i:
                continue
            if proposals[i] == proposals[j]:
                return True
            if proposals[i] == self.agents[j] and proposals[j] == self.agents[i]:
                return True
        return False

    def _view(self, i):
        view = [*self.agents[i], 1, *self.agents[NEIGHBOUR[i]], 1]
        remaining = [self.foods[f] for f in range(4) if self.present[f]]
        used = []
        for k in range(3):
            if len(used) == len(remaining):
                view += [0, 0, 0]
                continue
            s = ((i + k) % 4) % len(remaining)
            while s in used:
                s = (s + 1) % len(remaining)
            used.append(s)
            view += [*remaining[s], 1]
        return [*view, 0, 0, 0]
