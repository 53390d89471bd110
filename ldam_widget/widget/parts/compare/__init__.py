"""Parts of a panel that shows several models side by side."""
