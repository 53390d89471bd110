"""The parts of a map, `Scatter`; each has a counterpart in `js/src/scatter/`."""
