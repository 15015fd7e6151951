"""Measure updates and steps per second of a plain PyTorch trainer: `python benchmarks/torch_baseline.py`.

The script that users run today, without its central value network: one environment, one network per agent in a
ModuleList that is looped over, replay in NumPy arrays, `torch.optim.Adam` with its defaults. Nothing is slowed down,
and it uses nothing that such a script would not use (compilation, agents in batched products, fused optimisers).
Networks, batch, target and replay ratio are those of `benchmarks/learner.py`; a test compares the parameter counts.
"""

from typing import Any

import numpy as np
import torch
from measuring import Options, Work, finish, make_options, make_parser, pin, ratio, spread, table
from numpy_environment import NumpyGridWorld
from torch import Tensor, nn

NUM_AGENTS, NUM_ACTIONS, OBSERVATION_SIZE = 4, 6, 18
STATE_SIZE = NUM_AGENTS * OBSERVATION_SIZE
HIDDEN_SIZE, MIXING_SIZE, HYPERNET_SIZE = 128, 32, 64
BATCH_SIZE = 64
BUFFER_CAPACITY = 100_000
MIN_BUFFER_SIZE = 10_000
TRAIN_FREQUENCY = 4  # environment steps per update
TARGET_UPDATE_INTERVAL = 200
GAMMA = 0.95
EPSILON = 0.5  # over the whole run: half of all actions are greedy, as over a linear decay


class QNetwork(nn.Module):
    """Two-layer MLP with LayerNorm and ReLU, dueling heads: float32[B, 18] -> float32[B, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(OBSERVATION_SIZE, HIDDEN_SIZE),
            nn.LayerNorm(HIDDEN_SIZE),
            nn.ReLU(),
            nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE),
            nn.LayerNorm(HIDDEN_SIZE),
            nn.ReLU(),
        )
        self.advantage = nn.Linear(HIDDEN_SIZE, NUM_ACTIONS)
        self.value = nn.Linear(HIDDEN_SIZE, 1)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = self.body(observations)
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(dim=-1, keepdim=True)


class Mixer(nn.Module):
    """QMIX: float32[B, 4] chosen values, float32[B, 72] state -> float32[B] q_tot."""

    def __init__(self) -> None:
        super().__init__()
        self.weights_1 = _hypernetwork(NUM_AGENTS * MIXING_SIZE)
        self.weights_2 = _hypernetwork(MIXING_SIZE)
        self.bias_1 = nn.Linear(STATE_SIZE, MIXING_SIZE)
        self.value = _hypernetwork(1)

    def forward(self, agent_qs: Tensor, states: Tensor) -> Tensor:
        weights_1 = self.weights_1(states).abs().view(-1, NUM_AGENTS, MIXING_SIZE)
        hidden = torch.bmm(agent_qs.unsqueeze(1), weights_1).squeeze(1) + self.bias_1(states)
        mixed = (nn.functional.elu(hidden) * self.weights_2(states).abs()).sum(dim=-1)
        return mixed + self.value(states).squeeze(-1)


class Team(nn.Module):
    """All trained networks, or their target copies."""

    def __init__(self) -> None:
        super().__init__()
        self.agents = nn.ModuleList(QNetwork() for _ in range(NUM_AGENTS))
        self.mixer = Mixer()

    def q_values(self, observations: Tensor) -> Tensor:
        """float32[B, 4, 18] -> float32[B, 4, 6]."""
        return torch.stack([agent(observations[:, i]) for i, agent in enumerate(self.agents)], dim=1)


class Replay:
    """Uniform replay in NumPy arrays."""

    def __init__(self, seed: int) -> None:
        shape = (BUFFER_CAPACITY, NUM_AGENTS, OBSERVATION_SIZE)
        self.observations = np.zeros(shape, np.float32)
        self.next_observations = np.zeros(shape, np.float32)
        self.actions = np.zeros((BUFFER_CAPACITY, NUM_AGENTS), np.int64)
        self.rewards = np.zeros(BUFFER_CAPACITY, np.float32)
        self.dones = np.zeros(BUFFER_CAPACITY, np.float32)
        self.rng = np.random.default_rng(seed)
        self.added = 0

    def add(
        self, observations: np.ndarray, actions: list[int], reward: float, next_observations: np.ndarray, done: bool
    ) -> None:
        at = self.added % BUFFER_CAPACITY
        self.observations[at] = observations
        self.actions[at] = actions
        self.rewards[at] = reward
        self.next_observations[at] = next_observations
        self.dones[at] = done
        self.added += 1

    def sample(self) -> list[Tensor]:
        at = self.rng.integers(0, min(self.added, BUFFER_CAPACITY), BATCH_SIZE)
        columns = (self.observations, self.actions, self.rewards, self.next_observations, self.dones)
        return [torch.from_numpy(column[at]) for column in columns]


class Trainer:
    """One environment and its learner."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.online, self.target = Team(), Team()
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=1e-3, weight_decay=1e-5)
        self.replay = Replay(seed)
        self.environment = NumpyGridWorld(seed, layout_seed=1)
        self.observations = self.environment.reset()
        self.rng = np.random.default_rng(seed)
        self.steps = self.updates = 0

    def act(self, epsilon: float) -> list[int]:
        """Choose epsilon-greedy actions, each agent on its own."""
        actions = self.rng.integers(0, NUM_ACTIONS, NUM_AGENTS)
        greedy = self.rng.random(NUM_AGENTS) >= epsilon
        if greedy.any():
            with torch.no_grad():
                q_values = self.online.q_values(torch.from_numpy(self.observations[None]))[0]
            actions = np.where(greedy, q_values.argmax(dim=-1).numpy(), actions)
        return actions.tolist()

    def step(self, epsilon: float) -> None:
        """Take one environment step and add it to replay."""
        actions = self.act(epsilon)
        observations, rewards, terminated, truncated = self.environment.step(actions)
        done = terminated or truncated
        self.replay.add(self.observations, actions, rewards.sum(), observations, done)
        self.observations = self.environment.reset() if done else observations
        self.steps += 1

    def update(self) -> float:
        """Make one gradient update and return its loss."""
        observations, actions, rewards, next_observations, dones = self.replay.sample()
        chosen = self.online.q_values(observations).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        q_tot = self.online.mixer(chosen, observations.flatten(1))
        with torch.no_grad():
            next_actions = self.online.q_values(next_observations).argmax(dim=-1, keepdim=True)
            next_chosen = self.target.q_values(next_observations).gather(-1, next_actions).squeeze(-1)
            next_q_tot = self.target.mixer(next_chosen, next_observations.flatten(1))
            td_target = rewards + GAMMA * (1 - dones) * next_q_tot
        loss = nn.functional.mse_loss(q_tot, td_target)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.online.parameters(), 10.0)
        self.optimizer.step()
        self.updates += 1
        if self.updates % TARGET_UPDATE_INTERVAL == 0:
            self.target.load_state_dict(self.online.state_dict())
        return loss.item()

    def train(self, updates: int) -> None:
        """Take steps and make updates at the replay ratio."""
        for _ in range(updates):
            for _ in range(TRAIN_FREQUENCY):
                self.step(EPSILON)
            self.update()


def _hypernetwork(size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(STATE_SIZE, HYPERNET_SIZE), nn.ReLU(), nn.Linear(HYPERNET_SIZE, size))


def make_works(threads: int, prefill: int = MIN_BUFFER_SIZE, updates: int = 20) -> tuple[Work, Work]:
    """Return updates alone, and the whole trainer counted in updates, on `threads` threads."""
    trainer = Trainer()
    for _ in range(prefill):
        trainer.step(epsilon=1.0)

    def updates_alone() -> float:
        torch.set_num_threads(threads)
        for _ in range(updates):
            trainer.update()
        return updates

    def whole() -> float:
        torch.set_num_threads(threads)
        trainer.train(updates)
        return updates

    return updates_alone, whole


def measure(options: Options, cores: int) -> dict[str, Any]:
    """Measure updates/s and steps/s on one core and on all cores."""
    works = {}
    for threads in sorted({1, cores}):
        size = (200, 2) if options.quick else (MIN_BUFFER_SIZE, 20)
        works[f"update {threads}"], works[f"whole {threads}"] = make_works(threads, *size)
    rates = options.interleave(works)
    return {
        "threads": [
            {
                "threads": threads,
                "updates_per_second_alone": spread(rates[f"update {threads}"]),
                "updates_per_second": spread(rates[f"whole {threads}"]),
                "steps_per_second": spread(TRAIN_FREQUENCY * rate for rate in rates[f"whole {threads}"]),
                "ratio_to_one_thread": ratio(rates[f"whole {threads}"], rates["whole 1"]),
            }
            for threads in sorted({1, cores})
        ]
    }


def describe(figures: dict[str, Any]) -> str:
    """Format the figures as Markdown."""
    rows = [
        [
            row["threads"],
            row["updates_per_second_alone"],
            row["updates_per_second"],
            row["steps_per_second"],
            row["ratio_to_one_thread"],
        ]
        for row in figures["threads"]
    ]
    return "\n\n".join(
        [
            f"## PyTorch baseline\n\nNetworks {HIDDEN_SIZE}-{HIDDEN_SIZE}, batch {BATCH_SIZE}, an update every "
            f"{TRAIN_FREQUENCY} steps of one environment.",
            table(["threads", "updates/s alone", "updates/s of training", "steps/s", "times one thread"], rows),
        ]
    )


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    figures = measure(make_options(arguments, rounds=7, seconds=0.7), cores=pin(None))
    finish(arguments, figures, describe(figures))


if __name__ == "__main__":
    main()
