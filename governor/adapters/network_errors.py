"""Errors of the network, as a person reads them."""

from __future__ import annotations


def root_cause(error: BaseException) -> str:
    """The innermost reason of a chain of network errors, without the object dumps of the outer ones."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)
