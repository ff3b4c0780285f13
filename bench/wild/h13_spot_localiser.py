"""Single-molecule localisation: regress the position of a fluorescent spot together with its own uncertainty.
The objective is a Gaussian log-density, so it may well go below zero.

style: microscopist, heteroscedastic regression, endless on-the-fly simulation
fault: none
mended: 0.977
"""

import math

import torch
from torch import nn

torch.manual_seed(64)
S = 16  # camera pixels
BATCH = 80
STEPS = 900

_y, _x = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")


def simulate(n, g=None):
    """Poisson camera frames with one spot, unknown brightness and background."""
    pos = 4 + (S - 8) * torch.rand(n, 2, generator=g)
    photons = torch.exp(torch.empty(n, 1, 1).uniform_(math.log(400), math.log(2500), generator=g))
    back = torch.empty(n, 1, 1).uniform_(2, 6, generator=g)
    sig = torch.empty(n, 1, 1).uniform_(1.1, 1.6, generator=g)
    d2 = (_x - pos[:, 0, None, None]) ** 2 + (_y - pos[:, 1, None, None]) ** 2
    rate = back + photons * torch.exp(-d2 / (2 * sig**2)) / (2 * math.pi * sig**2)
    frame = torch.poisson(rate, generator=g)
    return torch.sqrt(frame + 0.375).unsqueeze(1) - 2.0, pos / S


class Localiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ELU(),
            nn.AvgPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ELU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(48 * 16, 96),
            nn.ELU(),
        )
        self.mean = nn.Linear(96, 2)
        self.log_var = nn.Linear(96, 2)
        nn.init.zeros_(self.log_var.weight)
        nn.init.constant_(self.log_var.bias, -3.0)
        nn.init.constant_(self.mean.bias, 0.5)

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.log_var(h)


def log_density_loss(mu, log_var, target):
    return 0.5 * (log_var + (target - mu) ** 2 * torch.exp(-log_var)).sum(1).mean()


def main():
    g_test = torch.Generator().manual_seed(2024)
    xt, pt = simulate(1500, g_test)
    net = Localiser()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.98))
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=2e-3, total_steps=STEPS, pct_start=0.1)
    net.train()
    for step in range(1, STEPS + 1):
        x, p = simulate(BATCH)
        mu, lv = net(x)
        loss = log_density_loss(mu, lv, p)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        opt.step()
        sched.step()
        if step % 150 == 0:
            net.eval()
            with torch.no_grad():
                mu, lv = net(xt)
            err = ((mu - pt) * S).norm(dim=1)
            claimed = (torch.exp(0.5 * lv) * S).mean().item()
            hit = (err < 0.5).float().mean().item()
            print(
                f"step {step:4d} loss {loss.item():7.3f} rms {err.pow(2).mean().sqrt():.3f} px "
                f"claimed {claimed:.3f} px  within half a pixel {hit:.3f}"
            )
            net.train()
    print(f"fraction localised to half a pixel: {hit:.4f}")


if __name__ == "__main__":
    main()
