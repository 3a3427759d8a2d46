"""The verbs of the command line: a file, a function and a `configs/<verb>.yaml` each."""
