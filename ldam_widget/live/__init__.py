"""The thread that samples, its pace, and how widgets take turns."""
