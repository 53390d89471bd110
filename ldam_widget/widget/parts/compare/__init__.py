"""Parts of a panel that holds several models side by side."""
