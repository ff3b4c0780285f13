"""Judging predictions: pure functions on numpy arrays, over scikit-learn. Imports no torch."""
