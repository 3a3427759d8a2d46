"""What is trained: one family, one file."""
