"""The one exception that the command line turns into a line and exit code 2."""


class PenstockError(ValueError):
    """Bad input: the message names the thing, the rule that it breaks, and what came."""
