"""The parts of the toolbox; each has a counterpart in `js/src/toolbox/`."""
