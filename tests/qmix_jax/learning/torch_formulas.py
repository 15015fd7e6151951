"""Updates of the family in PyTorch, written from the papers' formulas: what `test_peers` compares with.

Networks are functions of nested dicts of tensors, laid out and named as flax's parameters are.
"""

import torch
import torch.nn.functional as F

LAYER_NORM_EPSILON = 1e-6


def train(config, params, batches):
    """Return the losses of one update for each batch, and the parameters after all of them.

    Args:
        config: the run's settings. The target network stays as the parameters were at first.
        params: nested dicts of NumPy arrays.
        batches: sequences [B, T, ...] as dicts of NumPy arrays.
    """
    params, target_params = tensors(params), tensors(params)
    trained = [tensor.requires_grad_() for tensor in leaves(params)]
    step = optimizer(config, trained)
    losses = []
    for arrays in batches:
        step.zero_grad()
        loss, total = losses_of(config, params, target_params, {name: torch.tensor(x) for name, x in arrays.items()})
        total.backward()
        for tensor in trained:
            tensor.grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        step.step()
        losses.append(loss.item())
    return losses, params


def optimizer(config, trained):
    """PyTorch's own optimisers (Kingma & Ba 2015; Loshchilov & Hutter 2019; Liu et al. 2020)."""
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "radam": torch.optim.RAdam,
        "rmsprop": torch.optim.RMSprop,
    }
    return kinds[config.optimizer](
        trained, lr=config.lr, eps=config.optimizer_epsilon, weight_decay=config.weight_decay
    )


def losses_of(config, params, target_params, batch):
    """Mean squared TD error over the steps until each sequence's end, and what is minimised."""
    steps = slice(0, config.sequence_length)
    rewards = config.reward_scale * batch["rewards"].sum(-1)[:, steps]
    done = batch["done"].double()[:, steps]
    mask = torch.cumprod(torch.cat([torch.ones_like(done[:, :1]), 1 - done[:, :-1]], 1), 1)

    values, target_values = (agents(config, part["agents"], batch) for part in (params, target_params))
    greedy = allowed(values.detach(), batch).argmax(-1)
    target_greedy = greedy if config.double_q else allowed(target_values, batch).argmax(-1)
    q_tot = mix(config, params["mixer"], values, batch["actions"].long(), batch)[:, steps]
    with torch.no_grad():
        if "central" in params:
            central_values = agents(config, target_params["central"]["agents"], batch)
            following = central_mixer(target_params["central"]["mixer"], central_values, target_greedy, batch)
        else:
            following = mix(config, target_params["mixer"], target_values, target_greedy, batch)
        targets = td_targets(config, rewards, done, following[:, 1:])
    squares = (q_tot - targets).square()
    loss = (mask * squares).sum() / mask.sum()
    if "central" not in params:
        return loss, loss

    # Weighted QMIX (Rashid et al. 2020, section 4).
    own = agents(config, params["central"]["agents"], batch)
    q_star = central_mixer(params["central"]["mixer"], own, batch["actions"].long(), batch)[:, steps]
    if config.algorithm == "ow_qmix":
        is_one = q_tot.detach() < targets
    else:
        best = central_mixer(target_params["central"]["mixer"], central_values, greedy, batch)[:, steps]
        is_one = (targets > best) | (greedy == batch["actions"].long()).all(-1)[:, steps]
    weights = torch.where(is_one, 1.0, config.alpha)
    total = (mask * (weights * squares + (q_star - targets).square())).sum() / mask.sum()
    return loss, total


def td_targets(config, rewards, done, following):
    """One-step targets, or Peng's Q(lambda): G_t = r_t + gamma (1 - d_t) ((1 - lambda) v_t + lambda G_t+1)."""
    one_step = rewards + config.gamma * (1 - done) * following
    if config.target == "n_step":
        return one_step
    targets, later = [], following[:, -1]
    for t in reversed(range(rewards.shape[1])):
        mixed = (1 - config.td_lambda) * following[:, t] + config.td_lambda * later
        later = rewards[:, t] + config.gamma * (1 - done[:, t]) * mixed
        targets.insert(0, later)
    return torch.stack(targets, 1)


def agents(config, params, batch):
    """Values [B, T, N, A] of all agents, recurrent ones unrolled from a zero hidden state."""
    values = []
    for number in range(batch["observations"].shape[2]):
        network = params["params"]
        inputs = batch["observations"][:, :, number].double()
        if config.share_parameters:
            ids = torch.zeros(*inputs.shape[:2], batch["observations"].shape[2], dtype=inputs.dtype)
            ids[:, :, number] = 1.0
            inputs = torch.cat([inputs, ids], -1)
        else:
            network = indexed(network, number)
        values.append(agent(config, network, inputs))
    return torch.stack(values, 2)


def agent(config, network, inputs):
    hidden = inputs
    sizes = config.hidden_sizes[:-1] if config.agent == "gru" else config.hidden_sizes
    for number, size in enumerate(sizes):
        hidden = linear(network[f"Dense_{number}"], hidden)
        if config.layer_norm:
            norm = network[f"LayerNorm_{number}"]
            hidden = F.layer_norm(hidden, (size,), norm["scale"], norm["bias"], LAYER_NORM_EPSILON)
        hidden = F.relu(hidden)
    if config.agent == "gru":
        hidden = gru(network["GRUCell_0"], hidden)
    if not config.dueling:
        return linear(network["values"], hidden)
    advantage = linear(network["advantage"], hidden)  # Wang et al. 2016, eq. 9
    return linear(network["value"], hidden) + advantage - advantage.mean(-1, keepdim=True)


def gru(cell, inputs):
    """Hidden states of every step (Cho et al. 2014, the reset gate after the product)."""
    hidden = torch.zeros(inputs.shape[0], cell["hr"]["kernel"].shape[0], dtype=inputs.dtype)
    states = []
    for t in range(inputs.shape[1]):
        seen = inputs[:, t]
        reset = torch.sigmoid(linear(cell["ir"], seen) + hidden @ cell["hr"]["kernel"])
        update = torch.sigmoid(linear(cell["iz"], seen) + hidden @ cell["hz"]["kernel"])
        candidate = torch.tanh(linear(cell["in"], seen) + reset * linear(cell["hn"], hidden))
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    return torch.stack(states, 1)


def mix(config, params, values, actions, batch):
    """Mixed values [B, T] of joint actions int[B, T, N]."""
    chosen = values.gather(-1, actions[..., None])[..., 0]
    if config.algorithm == "vdn":
        return chosen.sum(-1)
    states = batch["state"].double()
    if config.algorithm == "qplex":
        best = allowed(values, batch).max(-1).values.detach()
        return qplex(params["params"], values.shape[-1], chosen, best, actions, states)
    return qmix(params["params"], chosen, states)


def qmix(params, chosen, states):
    """Rashid et al. 2018, section 4 and figure 2."""

    def hypernetwork(name):
        hidden = F.relu(linear(params[f"{name}_hidden"], states)) if f"{name}_hidden" in params else states
        return linear(params[name], hidden)

    size = params["bias_1"]["bias"].shape[0]
    first = hypernetwork("weights_1").abs().reshape(*chosen.shape, size)
    hidden = F.elu(torch.einsum("btn,btnm->btm", chosen, first) + linear(params["bias_1"], states))
    return (hidden * hypernetwork("weights_2").abs()).sum(-1) + hypernetwork("value")[..., 0]


def qplex(params, num_actions, chosen, best, actions, states):
    """Wang et al. 2021, section 3: transformed values, and advantages weighed by a joint action's heads."""

    def transformation(name):
        return linear(params[name], F.relu(linear(params[f"{name}_hidden"], states)))

    joint = torch.cat([states, F.one_hot(actions, num_actions).double().flatten(2)], -1)
    weights = transformation("weights").abs() + 1e-10
    q_values = weights * chosen + transformation("biases")
    advantages = (weights * (chosen - best)).detach()
    keys, gates = heads(params["keys"], states).abs() + 1e-10, torch.sigmoid(heads(params["agents"], states))
    importance = (keys * gates * torch.sigmoid(heads(params["actions"], joint))).sum(0)
    return (q_values + (importance - 1) * advantages).sum(-1)


def heads(params, inputs):
    """Outputs of one network a head, [K, B, T, size]."""
    outputs = []
    for number in range(params["Dense_0"]["bias"].shape[0]):
        network, hidden = indexed(params, number), inputs
        for layer in range(len(network)):
            hidden = linear(network[f"Dense_{layer}"], hidden if layer == 0 else F.relu(hidden))
        outputs.append(hidden)
    return torch.stack(outputs)


def central_mixer(params, values, actions, batch):
    """Q* of joint actions [B, T]: an MLP of the chosen values and the state."""
    hidden = torch.cat([values.gather(-1, actions[..., None])[..., 0], batch["state"].double()], -1)
    layers = params["params"]
    for number in range(len(layers)):
        hidden = linear(layers[f"Dense_{number}"], hidden if number == 0 else F.relu(hidden))
    return hidden[..., 0]


def allowed(values, batch):
    """Values with -inf for masked actions."""
    return values.masked_fill(~batch["action_mask"], -torch.inf)


def linear(layer, inputs):
    outputs = inputs @ layer["kernel"]
    return outputs + layer["bias"] if "bias" in layer else outputs


def indexed(tree, number):
    return {name: indexed(x, number) if isinstance(x, dict) else x[number] for name, x in tree.items()}


def tensors(tree):
    """Copy nested dicts of arrays to tensors of double precision."""
    return {name: tensors(x) if isinstance(x, dict) else torch.tensor(x).double() for name, x in tree.items()}


def leaves(tree):
    return [leaf for x in tree.values() for leaf in (leaves(x) if isinstance(x, dict) else [x])]
