"""What is wrong with data: checks over looks, labels, splits and features, each of which speaks in findings."""
