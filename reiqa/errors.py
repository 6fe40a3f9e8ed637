"""Expected errors of commands; their message states the problem and the remedy in one line."""


class BadInputError(Exception):
    """The user's input is invalid. Exit code 2."""


class WorkFailedError(Exception):
    """The input is valid, but the work failed. Exit code 1."""
