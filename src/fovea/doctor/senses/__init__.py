"""Where the doctor listens: each sense hooks into one part of PyTorch and tells the watcher what happens there."""
