"""Parts of the panels, one a file; `part.py` says what a part is."""
