"""Samplers and comparisons: settings, chains, and all that is measured while they run."""
