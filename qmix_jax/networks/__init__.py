"""Networks as pure functions: layers, agents, mixers, and what they read of an environment."""
