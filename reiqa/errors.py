"""The two ways a command can end badly, each a line that a person can act on."""


class BadInputError(Exception):
    """What the user gave cannot be used; the message names it and the mend. Exit code 2."""


class WorkFailedError(Exception):
    """The input was sound but the work could not be done. Exit code 1."""
