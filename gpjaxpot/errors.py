"""Errors that a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: says what came, what was wanted, and what to do.

    The command line prints its text as one message on stderr and ends with status 2.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to `word`, or nothing."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[near[0]]}'?)" if near else ""
