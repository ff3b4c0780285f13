"""Course project, handwritten digits with a tiny CNN. We must report macro F1, but mine stays far lower than
my friend's although the loss looks great.

style: undergraduate notebook turned script, sklearn metrics in the loop
fault: metric-averaging
accept: metric-wrong
broken: 0.902
mended: 0.989
"""

# %% imports
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

torch.manual_seed(2)
np.random.seed(2)

# %% data
digits = load_digits()
X = digits.images.astype("float32") / 16.0
X = (X - X.mean()) / X.std()
Xtr, Xte, ytr, yte = train_test_split(X, digits.target, test_size=0.25, stratify=digits.target, random_state=2)
train_ds = torch.utils.data.TensorDataset(torch.tensor(Xtr)[:, None], torch.tensor(ytr))
test_ds = torch.utils.data.TensorDataset(torch.tensor(Xte)[:, None], torch.tensor(yte))
train_dl = torch.utils.data.DataLoader(train_ds, batch_size=32, shuffle=True)
test_dl = torch.utils.data.DataLoader(test_ds, batch_size=32)

# %% model
model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(0.25),
    nn.Flatten(),
    nn.Linear(64 * 16, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


# %% scoring helper
def score_batch(logits, target):
    pred = logits.argmax(dim=1).numpy()
    return f1_score(target.numpy(), pred, labels=list(range(10)), average="macro", zero_division=0)


# %% training
history = {"loss": [], "val_loss": [], "val_f1": []}
for epoch in range(26):
    model.train()
    epoch_loss = 0.0
    for xb, yb in train_dl:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item() * xb.size(0)

    model.eval()
    val_loss, val_f1 = 0.0, []
    with torch.no_grad():
        for xb, yb in test_dl:
            out = model(xb)
            val_loss += criterion(out, yb).item() * xb.size(0)
            val_f1.append(score_batch(out, yb))
    history["loss"].append(epoch_loss / len(train_ds))
    history["val_loss"].append(val_loss / len(test_ds))
    history["val_f1"].append(float(np.mean(val_f1)))
    print(
        "epoch %2d  loss %.4f  val_loss %.4f  val_f1 %.4f"
        % (epoch + 1, history["loss"][-1], history["val_loss"][-1], history["val_f1"][-1])
    )

# %% report
print("macro F1 on the test set: %.4f" % history["val_f1"][-1])
