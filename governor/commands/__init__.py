"""The work behind the verbs of the command line: each takes plain arguments and returns an exit code."""
