"""I come from numerical optimisation.  With 1,300 digits there is no reason to be stochastic: I run L-BFGS with a
strong-Wolfe line search on the full penalised objective.

style: applied mathematician, full batch, closure, double precision
fault: none
mended: 0.984
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

A, b = load_digits(return_X_y=True)
A_tr, A_te, b_tr, b_te = train_test_split(A, b, test_size=450, random_state=0, stratify=b)
mu = torch.tensor(A_tr).mean(0)
scale = torch.tensor(A_tr).std()
as_img = lambda M: ((torch.tensor(M) - mu) / scale).reshape(-1, 1, 8, 8)
A_tr, A_te = as_img(A_tr), as_img(A_te)
b_tr, b_te = torch.tensor(b_tr), torch.tensor(b_te)
N, LAMBDA = len(b_tr), 2e-3

theta = {
    "K1": torch.randn(12, 1, 3, 3) * (2 / 9) ** 0.5,
    "c1": torch.zeros(12),
    "K2": torch.randn(16, 12, 3, 3) * (2 / 108) ** 0.5,
    "c2": torch.zeros(16),
    "W": torch.randn(10, 16 * 16) * (1 / 256) ** 0.5,
    "c3": torch.zeros(10),
}
for t in theta.values():
    t.requires_grad_(True)


def phi(x):
    h = torch.nn.functional.softplus(torch.conv2d(x, theta["K1"], theta["c1"], padding=1), beta=4)
    h = torch.nn.functional.softplus(torch.conv2d(h, theta["K2"], theta["c2"], padding=1), beta=4)
    h = torch.nn.functional.avg_pool2d(h, 2)
    return h.flatten(1) @ theta["W"].T + theta["c3"]


def objective():
    z = phi(A_tr)
    nll = (z.logsumexp(1) - z[torch.arange(N), b_tr]).mean()
    ridge = sum((theta[k] ** 2).sum() for k in ("K1", "K2", "W"))
    return nll + 0.5 * LAMBDA * ridge


solver = torch.optim.LBFGS(
    theta.values(), lr=1.0, max_iter=8, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-9
)


def closure():
    solver.zero_grad()
    f = objective()
    f.backward()
    return f


for outer in range(16):
    f = solver.step(closure)
    with torch.no_grad():
        gnorm = torch.cat([t.grad.flatten() for t in theta.values()]).norm()
        acc = (phi(A_te).argmax(1) == b_te).double().mean()
    print(f"outer {outer:2d}  f = {f.item():.6e}  |grad| = {gnorm:.2e}  test = {acc:.4f}")
    if gnorm < 1e-6:
        break

print(f"test accuracy {acc.item():.4f}")
