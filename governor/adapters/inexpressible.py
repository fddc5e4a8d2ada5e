"""What a control plane cannot say is refused by name, never dropped."""

from __future__ import annotations


class Inexpressible(Exception):  # noqa: N818 - reads as what it is
    """This value cannot be said with this control plane's files or objects; the message says why."""
