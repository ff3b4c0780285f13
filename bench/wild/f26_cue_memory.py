"""A toy of our monkey experiment: a short clip of digits is shown, exactly one early frame has a bright frame around
it (the cue); after the clip the network must report the cued digit.  CNN per frame, GRU cell over time.

style: computational neuroscientist, recurrent loop over frames, functional training code
fault: detached-graph
broken: 0.207
mended: 0.970
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

T, NDIG = 6, 5
rs = np.random.RandomState(10)
torch.manual_seed(10)

bank = load_digits()
keep = bank.target < NDIG
imgs, labs = bank.images[keep] / 16.0, bank.target[keep]
half = len(labs) * 3 // 4
POOL = {"train": (imgs[:half], labs[:half]), "test": (imgs[half:], labs[half:])}


def trials(split, n):
    im, lb = POOL[split]
    clips = np.zeros((n, T, 1, 12, 12), np.float32)
    answer = np.zeros(n, np.int64)
    for i in range(n):
        pick = rs.randint(0, len(lb), T)
        cue = rs.randint(0, 3)
        for t in range(T):
            if rs.rand() < 0.25 and t != cue:
                continue
            clips[i, t, 0, 2:10, 2:10] = im[pick[t]]
            if t == cue:
                clips[i, t, 0, [0, -1], :] = 1.0
                clips[i, t, 0, :, [0, -1]] = 1.0
        answer[i] = lb[pick[cue]]
    clips += rs.normal(0, 0.08, clips.shape)
    return torch.from_numpy(clips.astype(np.float32)), torch.from_numpy(answer)


class Observer(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.retina = nn.Sequential(
            nn.Conv2d(1, 12, 3),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24 * 16, 48),
            nn.ReLU(),
        )
        self.memory = nn.GRUCell(48, hidden)
        self.report = nn.Linear(hidden, NDIG)
        self.hidden = hidden

    def forward(self, clip):
        h = clip.new_zeros(len(clip), self.hidden)
        for t in range(clip.shape[1]):
            seen = self.retina(clip[:, t])
            h = self.memory(seen, h.detach())
        return self.report(h)


def session(net, opt, sched, n_trials, batch=50):
    net.train()
    clips, answer = trials("train", n_trials)
    losses = []
    for s in range(0, n_trials, batch):
        opt.zero_grad()
        loss = F.cross_entropy(net(clips[s : s + batch]), answer[s : s + batch])
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        sched.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def probe(net, clips, answer):
    net.eval()
    return (net(clips).argmax(1) == answer).float().mean().item()


test_clips, test_answer = trials("test", 600)
net = Observer()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
SESSIONS, TRIALS = 14, 2000
sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=SESSIONS * TRIALS // 50)
for session_no in range(1, SESSIONS + 1):
    l = session(net, opt, sched, TRIALS)
    print("session %2d   loss %.3f   correct reports %.3f" % (session_no, l, probe(net, test_clips, test_answer)))
print("correct reports on held-out digits:", probe(net, test_clips, test_answer))
