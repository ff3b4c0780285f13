"""What every other room stands on: errors, findings, registries, the recipe, the run folder. Imports no torch."""
