"""Training: the one loop, its optimisers and schedules, cached activations, checkpoints, and the climb by budget."""
