"""A plain loop with torch.compile: of the network as a wrapper, of the network in place, or of the whole step."""

from __future__ import annotations

import torch
from common import asked, digits, network, rate, tell
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

given = asked(backend="", what="wrapper", amp="")
torch.manual_seed(0)
train, held = digits(given.fault)
net = network(given.fault)
model = net
if given.backend and given.what == "wrapper":
    model = torch.compile(net, backend=given.backend)
elif given.backend and given.what == "place":
    net.compile(backend=given.backend)
optimizer = torch.optim.SGD(net.parameters(), lr=rate(0.05, given.fault), momentum=0.9)


def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The forward half of a step."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bool(given.amp)):
        return cross_entropy(model(images), labels)


if given.backend and given.what == "step":
    loss_of = torch.compile(loss_of, backend=given.backend)
losses, evaluations = [], []
for _ in range(given.epochs):
    net.train(given.fault != "mode")
    for images, labels in DataLoader(train, batch_size=32, shuffle=True, drop_last=True):
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    net.eval()
    count = right = 0
    with torch.inference_mode():
        for images, labels in DataLoader(held, batch_size=100):
            count, right = count + len(labels), right + int((model(images).argmax(1) == labels).sum())
    evaluations.append((count, right))
tell(net, losses, evaluations)
