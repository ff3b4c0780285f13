"""Dividing images into splits and folds: `units` may not be parted, `holdout` and `folds` deal them out, `times` dates
them. The doors are in `fovea.data.splits`.
"""
