"""An agent that names digits and is only told whether it was right: policy gradient with a baseline.

style: reinforcement learning script, policy and value heads, entropy bonus
fault: none
broken: n/a
mended: 0.98
"""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.distributions import Categorical

torch.manual_seed(543)
digits = load_digits()
states = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 8 - 1
answers = torch.tensor(digits.target)
order = torch.randperm(len(states))
train_ids, test_ids = order[:1400], order[1400:]


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine = nn.Sequential(nn.Linear(64, 128), nn.ReLU())
        self.action_head = nn.Linear(128, 10)
        self.value_head = nn.Linear(128, 1)

    def forward(self, x):
        x = self.affine(x)
        return Categorical(logits=self.action_head(x)), self.value_head(x).squeeze(1)


policy = Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=4e-3)
running_reward = 0.1

for episode in range(400):
    ids = train_ids[torch.randint(len(train_ids), (96,))]
    dist, value = policy(states[ids])
    action = dist.sample()
    reward = (action == answers[ids]).float()
    advantage = reward - value.detach()
    policy_loss = -(dist.log_prob(action) * advantage).mean()
    value_loss = nn.functional.smooth_l1_loss(value, reward)
    loss = policy_loss + 0.5 * value_loss - 0.01 * dist.entropy().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    running_reward = 0.05 * reward.mean().item() + 0.95 * running_reward
    if episode % 50 == 0:
        print(f"Episode {episode}\tloss {loss.item():+.3f}\trunning reward {running_reward:.2f}")

with torch.no_grad():
    dist, _ = policy(states[test_ids])
print(f"greedy accuracy {(dist.probs.argmax(1) == answers[test_ids]).float().mean():.3f}")
