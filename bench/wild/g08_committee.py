"""A committee of six little nets for digits, all trained at once with torch.func, each at its own learning rate. Works nicely and I like that there is no optimizer object.

style: torch.func stack_module_state / functional_call / vmap(grad), hand-written momentum SGD on dicts
fault: none
mended: 0.976
"""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

torch.manual_seed(31)
MEMBERS, HIDDEN = 6, 48


def member():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 12, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(192, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, 10),
    )


def digits():
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32) / 16 - 0.3
    y = torch.tensor(d.target)
    order = torch.randperm(len(y))
    cut = 1300
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def main():
    (xtr, ytr), (xte, yte) = digits()
    models = [member() for _ in range(MEMBERS)]
    params, buffers = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss_fn(p, b, x, y):
        logits = functional_call(skeleton, (p, b), (x,))
        return F.cross_entropy(logits, y)

    step = vmap(grad_and_value(loss_fn), in_dims=(0, 0, 0, 0))
    params = {k: v.detach() for k, v in params.items()}
    speed = {k: torch.zeros_like(v) for k, v in params.items()}
    rates = torch.logspace(-1.6, -0.3, MEMBERS)

    updates, batch = 1500, 40
    for t in range(updates):
        # each member has its own bootstrap of the data
        pick = torch.randint(len(ytr), (MEMBERS, batch))
        g, losses = step(params, buffers, xtr[pick], ytr[pick])
        fade = 1 - t / updates
        for k in params:
            lr = rates.view(-1, *[1] * (params[k].dim() - 1)) * fade
            speed[k] = 0.8 * speed[k] + g[k]
            params[k] = params[k] - lr * speed[k]
        if t % 300 == 0:
            print(t, [round(v, 3) for v in losses.tolist()])

    with torch.no_grad():
        every = vmap(lambda p, b: functional_call(skeleton, (p, b), (xte,)).softmax(-1))(params, buffers)
    alone = (every.argmax(-1) == yte).float().mean(1)
    print("members", [round(a, 3) for a in alone.tolist()])
    vote = every.mean(0).argmax(-1)
    print(f"committee accuracy {(vote == yte).float().mean():.3f}")


if __name__ == "__main__":
    main()
