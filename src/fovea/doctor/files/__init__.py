"""Image files of a training: which were opened, which image the network was given came from which, and how."""
