"""Networks as pure functions: layers, agents, mixers and their inputs."""
