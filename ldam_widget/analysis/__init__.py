"""What chains have found: modes, and units ranked by what a comparison shows."""
