"""The command line: what was typed, its help, its mistakes, its sweeps. Imports no torch before a command runs."""

from gentool.cli.program import main

__all__ = ["main"]
