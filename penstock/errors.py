"""Errors that the command line turns into lines and exit codes."""


class PenstockError(ValueError):
    """Bad input: the message names the thing, the rule that it breaks, and what came."""


class SimulationError(RuntimeError):
    """A build or a bench failed; the message ends with the last lines of its log."""


class BoardError(RuntimeError):
    """A board failed: it does not answer, its cable was pulled, its core stopped with an error."""


class SynthesisError(RuntimeError):
    """A tool of synthesis failed; the message ends with the last lines that it printed."""
