"""The user's network: a private view of it, its layers, the addresses of its units, and their wiring."""
