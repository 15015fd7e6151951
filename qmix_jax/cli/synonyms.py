"""What other libraries call our flags, so that a user of theirs is told ours."""

from collections.abc import Collection

from qmix_jax.settings import nearest_name

# Ours, and theirs in lower case. Where several of ours stand for one of theirs, the first that the command has counts.
_SYNONYMS = {
    "num_seeds": "seeds n_seeds num_seed",
    "seed": "seeds random_seed rng_seed",
    "algorithms": "algos algs",
    "algorithm": "algo alg algorithm_name mixer",
    "env": "env_name env_id environment task",
    "env_args": "env_kwargs environment_args environment_kwargs env_config map_name scenario num_agents n_agents",
    "shaped_reward_steps": "rew_shaping_horizon reward_shaping_horizon reward_shaping shaped_reward",
    "num_envs": "n_envs num_environments n_environments parallel_envs batch_size_run",
    "episodes": "num_episodes n_episodes eval_episodes n_eval_episodes test_nepisode",
    "total_episodes": "episodes num_episodes n_episodes max_episodes",
    "total_steps": "steps num_steps total_timesteps timesteps total_env_steps max_timesteps t_max",
    "max_steps_per_ep": "episode_limit episode_length max_episode_steps max_episode_length max_steps",
    "lr": "learning_rate learn_rate",
    "lr_schedule": "lr_decay lr_linear_decay anneal_lr scheduler",
    "gamma": "discount discount_factor",
    "n_step": "nstep nsteps n_steps",
    "td_lambda": "lambda lam",
    "double_q": "double_dqn double",
    "batch_size": "batch minibatch_size train_batch_size",
    "buffer_capacity": "buffer_size replay_size replay_buffer_size memory_size",
    "min_buffer_size": "learning_starts learning_start warmup_steps",
    "replay": "per use_per prioritized prioritised prioritized_replay prioritised_replay",
    "priority_exponent": "per_alpha priority_alpha",
    "importance_exponent": "per_beta priority_beta",
    "train_frequency": "train_freq update_freq train_interval training_interval update_interval",
    "target_update_interval": "target_update target_update_freq target_network_frequency target_interval",
    "target_tau": "tau polyak target_update_tau",
    "optimizer": "optim",
    "optimizer_epsilon": "adam_eps eps_adam optim_eps",
    "max_grad_norm": "grad_norm_clip grad_clip clip_grad gradient_clip max_norm",
    "reward_scale": "reward_scaling",
    "standardise_rewards": "standardize_rewards normalize_rewards normalise_rewards",
    "epsilon_start": "epsilon eps eps_start start_e exploration_initial_eps",
    "epsilon_end": "eps_end eps_finish epsilon_finish end_e exploration_final_eps",
    "epsilon_decay_steps": "eps_decay epsilon_decay epsilon_anneal_time exploration_fraction",
    "agent": "rnn use_rnn recurrent gru",
    "hidden_sizes": "hidden hidden_size hidden_dim hidden_dims rnn_hidden_dim layers net_arch",
    "mixing_size": "mixing_embed_dim mixer_embedding_dim",
    "hypernet_size": "hypernet_embed hypernet_hidden_dim mixer_hypernet_hidden_dim",
    "share_parameters": "parameter_sharing share_params share_policy",
    "last_action": "obs_last_action",
    "num_devices": "device devices n_devices gpus num_gpus",
    "eval_interval": "eval_freq eval_frequency evaluation_interval test_interval",
    "eval_episodes": "num_eval_episodes n_eval_episodes test_nepisode",
    "save_interval": "save_freq save_frequency checkpoint_interval save_model_interval",
    "tensorboard": "tb use_tensorboard",
    "wandb": "use_wandb track",
    "checkpoint": "model load_model checkpoint_path load_step",
    "resume": "load load_model checkpoint checkpoint_path restore",
    "output": "out output_file",
    "results_dir": "out output_dir log_dir logdir save_dir save_path results_path",
    "workers": "n_workers num_workers n_jobs jobs",
}


def nearest_flag(name: str, flags: Collection[str]) -> str | None:
    """Return the flag that someone means who types `name`: one that other libraries call so, or resembles it."""
    meant = (ours for ours, theirs in _SYNONYMS.items() if ours in flags and name.lower() in theirs.split())
    return next(meant, None) or nearest_name(name, flags)
