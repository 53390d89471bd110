"""The sampling thread, its pacing, and the switching between Python threads."""
