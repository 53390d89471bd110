"""Parts of the panels, one per file; `part.py` defines the interface."""
