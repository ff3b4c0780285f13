"""Committee of small tanh networks on the digits, each fitted by full-batch L-BFGS.

style: full-batch L-BFGS with a closure, L2 penalty by hand, bootstrap committee, no DataLoader
fault: none
broken: n/a
mended: 0.980
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

torch.manual_seed(2)
X, y = load_digits(return_X_y=True)
Xa, Xb, ya, yb = train_test_split(X, y, test_size=0.3, random_state=3, stratify=y)
mean, std = Xa.mean(), Xa.std()
Xa, Xb = [torch.tensor((v - mean) / std, dtype=torch.float32) for v in (Xa, Xb)]
ya, yb = torch.tensor(ya), torch.tensor(yb)


def member(hidden):
    net = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 10))
    torch.nn.init.xavier_uniform_(net[0].weight)
    return net


def fit(net, x, t, l2=2e-3, rounds=12):
    opt = torch.optim.LBFGS(net.parameters(), lr=1.0, max_iter=20, history_size=20, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), t)
        loss = loss + l2 * sum((p**2).sum() for n, p in net.named_parameters() if "weight" in n) / 2
        loss.backward()
        return loss

    for r in range(rounds):
        value = opt.step(closure)
        if r in (0, 3, rounds - 1):
            print(f"   round {r:2d}  objective {value.item():.4f}")
    return net


votes = torch.zeros(len(yb), 10)
single = []
for k in range(22):
    net = member(hidden=96)
    boot = torch.randint(len(ya), (len(ya),))
    print(f"member {k}")
    fit(net, Xa[boot], ya[boot])
    with torch.no_grad():
        p = net(Xb).softmax(1)
    votes += p
    single.append((p.argmax(1) == yb).float().mean().item())
    print(f"   alone {single[-1]:.4f}   committee {(votes.argmax(1) == yb).float().mean():.4f}")
print(f"mean member {sum(single) / len(single):.4f}")
print(f"final committee accuracy {(votes.argmax(1) == yb).float().mean():.4f}")
