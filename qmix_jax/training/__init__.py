"""The trainer as pure functions: rollout, replay, updates and evaluation fused into one program."""
