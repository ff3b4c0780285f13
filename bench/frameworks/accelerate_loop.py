"""accelerate: a loop of one's own over what `Accelerator.prepare` has wrapped."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from common import asked, digits, network, rate, tell
from torch.nn import functional
from torch.utils.data import DataLoader

given = asked(precision="no", accumulate="1", loss="function")
set_seed(0)
accelerator = Accelerator(cpu=True, mixed_precision=given.precision, gradient_accumulation_steps=int(given.accumulate))
train, held = digits(given.fault)
net = network(given.fault)
optimizer = torch.optim.AdamW(net.parameters(), lr=rate(2e-3, given.fault))
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 38 * given.epochs)
model, optimizer, loader, held_out, scheduler = accelerator.prepare(
    net, optimizer, DataLoader(train, batch_size=32, shuffle=True), DataLoader(held, batch_size=100), scheduler
)


def by_hand(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy without a function of PyTorch's for it."""
    return -scores.log_softmax(dim=1)[torch.arange(len(labels)), labels].mean()


criterion = by_hand if given.loss == "hand" else functional.cross_entropy
losses, evaluations = [], []
for _ in range(given.epochs):
    model.train(given.fault != "mode")
    for images, labels in loader:
        with accelerator.accumulate(model):
            loss = criterion(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        losses.append(float(loss))
    model.eval()
    count = right = 0
    for images, labels in held_out:
        with torch.no_grad():
            told, truth = accelerator.gather_for_metrics((model(images).argmax(1), labels))
        count, right = count + len(truth), right + int((told == truth).sum())
    evaluations.append((count, right))
tell(net, losses, evaluations)
