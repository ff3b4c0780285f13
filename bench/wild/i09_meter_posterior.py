"""Reading meter digits with uncertainty: the answer is the mean of 40 stochastic passes with the dropout left on,
as Gal and Ghahramani propose, so that doubtful readings go to a person.

style: Bayesian deep-learning practitioner, posterior sampling at test time
fault: none
mended: 0.977
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(314)
np.random.seed(314)

PRIOR_LENGTH, TAU, P = 0.1, 200.0, 0.25
PASSES = 40


class BayesianReader(nn.Module):
    """All layers are followed by dropout; the likelihood is categorical."""

    def __init__(self, width=256):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.ReLU(), nn.Flatten())
        self.posterior = nn.Sequential(
            nn.Dropout(P),
            nn.Linear(32 * 16, width),
            nn.ReLU(),
            nn.Dropout(P),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(P),
            nn.Linear(width, 10),
        )

    def forward(self, x):
        return Categorical(logits=self.posterior(self.stem(x)))

    @torch.no_grad()
    def predictive(self, x, passes):
        self.train()
        return torch.stack([self(x).probs for _ in range(passes)])


bunch = load_digits()
x = torch.tensor(bunch.images[:, None] / 16 - 0.3, dtype=torch.float32)
y = torch.tensor(bunch.target)
perm = torch.randperm(len(y))
tr, te = perm[:1100], perm[1100:]

model = BayesianReader()
decay = (1 - P) * PRIOR_LENGTH**2 / (2 * len(tr) * TAU)
opt = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=decay)
model.train()
for epoch in range(20):
    loglik = 0.0
    for b in tr[torch.randperm(len(tr))].split(32):
        ll = model(x[b]).log_prob(y[b]).mean()
        opt.zero_grad()
        (-ll).backward()
        opt.step()
        loglik += ll.item() * len(b)
    print(f"epoch {epoch:2d}  E[log p] = {loglik / len(tr):.4f}", flush=True)

samples = model.predictive(x[te], PASSES)
mean = samples.mean(0)
entropy = Categorical(probs=mean).entropy()
mutual = entropy - Categorical(probs=samples).entropy().mean(0)
hit = mean.argmax(1) == y[te]
sure = mutual < mutual.quantile(0.9)
print(f"accuracy {hit.float().mean():.3f}  among the 90 % surest {hit[sure].float().mean():.3f}")
