"""A regularised network for handwritten digits, with an accuracy after each epoch.

style: course homework, train() and test() functions without the switch between them
source: https://github.com/udacity/deep-learning-v2-pytorch/issues/3
fault: eval-in-train-mode
broken: n/a
mended: 0.97
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(1234)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, 64)
        self.fc4 = nn.Linear(64, 10)
        self.dropout = nn.Dropout(p=0.5)

    def forward(self, x):
        x = x.view(x.shape[0], -1)
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        x = self.dropout(F.relu(self.fc3(x)))
        return F.log_softmax(self.fc4(x), dim=1)


def get_data():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    images = (images - 0.5) / 0.5
    full = TensorDataset(images, torch.tensor(digits.target))
    return random_split(full, [1300, len(full) - 1300])


def train(model, loader, optimizer, criterion):
    running_loss = 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return running_loss / len(loader)


def test(model, loader, criterion):
    test_loss, right, n = 0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            log_ps = model(images)
            test_loss += criterion(log_ps, labels).item() * len(labels)
            top_p, top_class = torch.exp(log_ps).topk(1, dim=1)
            right += (top_class.squeeze(1) == labels).sum().item()
            n += len(labels)
    return test_loss / n, right / n


train_set, test_set = get_data()
trainloader = DataLoader(train_set, batch_size=64, shuffle=True)
testloader = DataLoader(test_set, batch_size=64)
model = Classifier()
criterion = nn.NLLLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for e in range(12):
    train_loss = train(model, trainloader, optimizer, criterion)
    test_loss, accuracy = test(model, testloader, criterion)
    print(f"Epoch: {e + 1}/12.. Training Loss: {train_loss:.3f}.. Test Loss: {test_loss:.3f}.. Acc: {accuracy:.3f}")
