"""What is given on the command line, read and checked."""
