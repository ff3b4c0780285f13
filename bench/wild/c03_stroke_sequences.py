"""Reads digits column by column with a GRU; every writer has a speed of his own, so the sequences differ in length.

style: sequence model from an old RNN tutorial, collate_fn with packing
source: https://github.com/fartashf/vsepp/pull/36
fault: labels-shuffled
broken: 0.10
mended: 0.89
"""

import random

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


class ColumnSequences(Dataset):
    def __init__(self, images, targets, seed):
        rnd = random.Random(seed)
        self.sequences = []
        for image in images:
            repeats = [rnd.choice((1, 1, 2, 3)) for _ in range(8)]
            columns = np.repeat(image.T, repeats, axis=0)
            self.sequences.append(torch.from_numpy(columns).float() / 16 - 0.3)
        self.targets = [int(t) for t in targets]

    def __len__(self):
        return len(self.sequences)

    def __getitem__(self, index):
        return self.sequences[index], self.targets[index]


def collate_fn(batch):
    """The longest sequence first, as pack_padded_sequence wants it."""
    sequences, targets = zip(*batch)
    sequences = sorted(sequences, key=len, reverse=True)
    lengths = torch.tensor([len(s) for s in sequences])
    return pad_sequence(sequences, batch_first=True), lengths, torch.tensor(targets)


class Reader(nn.Module):
    def __init__(self, n_features=8, hidden_size=64, n_classes=10):
        super().__init__()
        self.rnn = nn.GRU(n_features, hidden_size, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden_size, n_classes)

    def forward(self, sequences, lengths):
        packed = pack_padded_sequence(sequences, lengths, batch_first=True)
        _, hidden = self.rnn(packed)
        return self.fc(torch.cat([hidden[0], hidden[1]], dim=1))


def run_epoch(model, loader, criterion, optimizer=None):
    model.train(optimizer is not None)
    total_loss, total_correct, n = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for sequences, lengths, targets in loader:
            scores = model(sequences, lengths)
            loss = criterion(scores, targets)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
            total_loss += loss.item() * len(targets)
            total_correct += (scores.argmax(1) == targets).sum().item()
            n += len(targets)
    return total_loss / n, total_correct / n


if __name__ == "__main__":
    torch.manual_seed(11)
    digits = load_digits()
    train_set = ColumnSequences(digits.images[:1350], digits.target[:1350], seed=1)
    val_set = ColumnSequences(digits.images[1350:], digits.target[1350:], seed=2)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, collate_fn=collate_fn)
    val_loader = DataLoader(val_set, batch_size=64, collate_fn=collate_fn)

    model = Reader()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, 9):
        loss, acc = run_epoch(model, train_loader, criterion, optimizer)
        val_loss, val_acc = run_epoch(model, val_loader, criterion)
        print(f"Epoch {epoch}: train loss {loss:.3f}, acc {acc:.3f} | val loss {val_loss:.3f}, acc {val_acc:.3f}")
