"""A user's module with an environment, for tests of `--env module:Name`."""

SOURCE = '''
import pathlib

import jax.numpy as jnp

from env_jax import EnvSpec, TimeStep

pathlib.Path("imported").touch()


class Agree:
    """One step: two agents that choose the same of three actions get 1 together."""

    def __init__(self, actions: int = 3, reward: float = 0.5, steps=1):
        self.reward = reward
        self.spec = EnvSpec("Agree", 2, actions, 1, 1, steps, jnp.float32, best_return=self.best_return)

    def reset(self, key):
        return jnp.zeros(()), self.show(jnp.zeros(2), jnp.array(False))

    def step(self, key, state, actions):
        reward = jnp.where(actions[0] == actions[1], self.reward, 0.0)
        return state, self.show(jnp.full(2, reward), jnp.array(True))

    def best_return(self, state, discount):
        return jnp.ones(())

    def show(self, rewards, terminated):
        mask = jnp.ones((2, self.spec.num_actions), bool)
        return TimeStep(jnp.ones((2, 1)), jnp.ones(1), mask, rewards, terminated, jnp.array(False))


def larger(actions: int = 4):
    return Agree(actions)


def nothing():
    return None


def raising():
    raise KeyError("no\\nmap")


def not_a_number():
    return Agree(reward=float("nan"))


class Spelled(Agree):
    @property
    def spec(self):
        raise RuntimeError("no spec")


given = Agree()
number = 3
'''
# What imports a module leaves behind.
LEFT = {"imported", "__pycache__", "own_agree.py"}
NAME = "own_agree"
TINY = (
    "--num_envs 4 --total_steps 80 --min_buffer_size 16 --batch_size 4 --hidden_sizes 4 --mixing_size 4 "
    "--hypernet_size 4 --eval_interval 40 --eval_episodes 2 --buffer_capacity 100"
).split()


def write_module(folder, name=NAME, source=SOURCE):
    """Write the module into a folder, and return what --env names it."""
    (folder / f"{name}.py").write_text(source)
    return f"{name}:Agree"
