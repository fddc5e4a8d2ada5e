"""Every exception that the governor raises on purpose.

GovernorError
├── DocumentError      a policy, scenario or settings file says something it must not
├── SourceError        the metric source gave nothing usable
│   ├── SourceUnreachable   no answer, or not in time
│   └── SourceRefused       an answer that is an error, or not what was asked for
├── ControlPlaneError  the control plane did not do what it was asked
│   ├── WriteRejected       it refused the new configuration; the old one is in force
│   ├── WriteUnconfirmed    it neither took nor refused it in time; the old one was put back
│   └── NotLeader           another replica leads, or nobody can be sure that this one still does
├── LedgerError        the ledger is locked, full or damaged
├── ModelRefused       a model in the store is missing, altered, or not for this governor; the baseline serves
├── TrainingError      the training job cannot start or its result must not be used; the old model stays
└── LabError           the mesh in a box cannot start or go on

A message says what was wrong, where, and what to do.
"""

from __future__ import annotations


class GovernorError(Exception):
    """Base of all errors of the governor; the CLI prints its message and exits with 2."""


class DocumentError(GovernorError):
    """A document is wrong: the message names file, field and the allowed values."""


class SourceError(GovernorError):
    """The metric source gave nothing usable."""


class SourceUnreachable(SourceError):  # noqa: N818 - reads as what happened
    """No answer from the metric source, or not in time."""


class SourceRefused(SourceError):  # noqa: N818 - reads as what happened
    """The metric source answered with an error or with something else than metrics."""


class ControlPlaneError(GovernorError):
    """The control plane did not do what it was asked."""


class WriteRejected(ControlPlaneError):  # noqa: N818 - reads as what happened
    """The data plane refused the new configuration; the old one stays in force."""


class WriteUnconfirmed(ControlPlaneError):  # noqa: N818 - reads as what happened
    """The data plane neither took nor refused the write in time; the old file was put back."""


class NotLeader(ControlPlaneError):  # noqa: N818 - reads as what happened
    """This replica must not write now: the message says who leads, or since when it cannot be sure."""


class LedgerError(GovernorError):
    """The ledger is locked, full or damaged; nothing is written to the mesh without it."""


class ModelRefused(GovernorError):  # noqa: N818 - reads as what happened
    """A model in the store was not loaded: the message names the file and what to do."""


class TrainingError(GovernorError):
    """The training job cannot start, or what it made must not be used."""


class LabError(GovernorError):
    """The mesh in a box cannot start or cannot go on."""
