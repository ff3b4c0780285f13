"""Which of four motifs is hidden in a noisy string of symbols, from easy to hard.

style: IterableDataset generated on the fly, curriculum of growing length, embedding + GRU with max pooling, Adam
fault: none
broken: n/a
mended: 1.000
"""

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, IterableDataset

SYMBOLS = 8
MOTIFS = torch.tensor([[0, 3, 1], [3, 1, 0], [1, 0, 3], [5, 2, 5]])


def strings(n, length, gen):
    """Random strings, one motif planted in each; a string holding two motifs is drawn again."""
    x = torch.randint(0, SYMBOLS, (n, length), generator=gen)
    y = torch.randint(0, len(MOTIFS), (n,), generator=gen)
    for i in range(n):
        while True:
            p = int(torch.randint(0, length - 2, (1,), generator=gen))
            x[i, p : p + 3] = MOTIFS[y[i]]
            w = x[i].unfold(0, 3, 1)
            if int((w[:, None] == MOTIFS[None]).all(2).any(0).sum()) == 1:
                break
            x[i] = torch.randint(0, SYMBOLS, (length,), generator=gen)
    return x, y


class Curriculum(IterableDataset):
    def __init__(self, lengths, per_stage, seed=0):
        self.lengths, self.per_stage = lengths, per_stage
        self.gen = torch.Generator().manual_seed(seed)
        self.stage = 0

    def __iter__(self):
        x, y = strings(self.per_stage, self.lengths[self.stage], self.gen)
        yield from zip(x, y)


class Finder(nn.Module):
    def __init__(self, d=24, width=48):
        super().__init__()
        self.emb = nn.Embedding(SYMBOLS, d)
        self.gru = nn.GRU(d, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, len(MOTIFS))

    def forward(self, x):
        h, _ = self.gru(self.emb(x))
        return self.out(h.max(1).values)


def main():
    torch.manual_seed(24)
    exam = strings(800, 24, torch.Generator().manual_seed(999))
    stages = [6, 6, 8, 8, 10, 12, 14, 16, 18, 20, 22, 24, 24, 24]
    data = Curriculum(stages, per_stage=1600)
    loader = DataLoader(data, batch_size=32)
    model = Finder()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    for stage, length in enumerate(stages):
        data.stage = stage
        for g in opt.param_groups:
            g["lr"] = 3e-3 if stage < 11 else 5e-4
        model.train()
        total = hits = n = 0
        for x, y in loader:
            opt.zero_grad()
            out = model(x)
            loss = nn.functional.cross_entropy(out, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            total, hits, n = total + loss.item() * len(y), hits + (out.argmax(1) == y).sum().item(), n + len(y)
        model.eval()
        with torch.no_grad():
            acc = (model(exam[0]).argmax(1) == exam[1]).float().mean().item()
        print(f"stage {stage + 1:2d} (length {length:2d})  loss {total / n:.4f}  acc {hits / n:.3f}  exam {acc:.4f}")
    print(f"final exam accuracy {acc:.4f}")


if __name__ == "__main__":
    main()
