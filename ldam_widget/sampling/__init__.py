"""Samplers and comparisons: settings, chains, and everything measured while they run."""
