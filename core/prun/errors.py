"""Errors, named after the classes of containerd's errdefs.

PrunError                       exit code 125 unless noted
+ InvalidArgument               the caller asked for something impossible
| + CommandNotInvocable         the container's command exists and cannot be executed (126)
+ NotFound                      no such image, container, plugin or runtime
| + CommandNotFound             the container's command does not exist (127)
+ AlreadyExists                 the name is taken
+ FailedPrecondition            right request, wrong state
+ PermissionDenied              the caller lacks a privilege
+ ResourceExhausted             a limit was reached: size, count, disk
+ DataLoss                      stored or supplied data is not what its digest or size says
+ Unavailable                   something outside of prun did not answer or failed
+ Unimplemented                 no plugin answers this hook
+ PluginError                   a plugin could not be loaded or broke its contract
"""

from __future__ import annotations


class PrunError(Exception):
    """Base of every error that prun raises on purpose.

    ``hint`` is the remedy, a sentence or empty, and ``evidence`` what was seen that shows the cause.  ``stage`` is the
    pipeline's step (``prun.types.Stage``) and ``plugin`` the name of the plugin at work; both are filled in on the way
    up by whoever knows them.
    """

    exit_code = 125
    #: What it interrupted is not undone: the record stays, and the next command takes the container down.
    unfinished = False

    def __init__(self, message: str, *, hint: str = "", stage: str = "", plugin: str = "", evidence: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.evidence = evidence
        self.stage = stage
        self.plugin = plugin


class InvalidArgument(PrunError):
    """A value cannot be used, whatever the state of the world."""


class CommandNotInvocable(InvalidArgument):
    """The container's command exists and cannot be executed: no x bit, a directory, a missing interpreter."""

    exit_code = 126


class NotFound(PrunError):
    """Nothing has that name."""


class CommandNotFound(NotFound):
    """The container's command does not exist in its root file system."""

    exit_code = 127


class AlreadyExists(PrunError):
    """The name is taken."""


class FailedPrecondition(PrunError):
    """The object exists, or the machine could do it, but the state is wrong for this."""


class PermissionDenied(PrunError):
    """The caller lacks a privilege that this needs."""


class ResourceExhausted(PrunError):
    """A limit was reached: of a size, a count, a depth, or of the disk."""


class DataLoss(PrunError):
    """Data is not what its digest, size or media type says."""


class Unavailable(PrunError):
    """Something outside of prun (an OCI runtime, a daemon, a host) failed or did not answer."""


class Unimplemented(PrunError):
    """No registered plugin answered a hook that needs an answer, or a plugin does not offer the operation."""


class PluginError(PrunError):
    """A plugin could not be loaded or broke a hook's contract."""


class TimedOut(BaseException):
    """The time of a plugin's code is up; no ``Exception``, so that it does not catch it with the others."""


class Exited(BaseException):
    """A plugin's code has called ``os._exit``."""
