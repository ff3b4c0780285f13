"""What a network costs: arithmetic, bytes, memory, receptive field and time, counted from what is really dispatched."""
