"""What the system says, as one of prun's errors."""

from __future__ import annotations

import errno

import pytest

from prun.errors import FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from prun.rootfs.failures import failure, translated


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ResourceExhausted),
        (errno.EDQUOT, ResourceExhausted),
        (errno.EMFILE, ResourceExhausted),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, FailedPrecondition),
        (errno.ENAMETOOLONG, InvalidArgument),
        (errno.EIO, Unavailable),
    ],
)
def test_an_error_number_has_its_class(number: int, expected: type[Exception]) -> None:
    found = failure("file 'x' cannot be written", OSError(number, "said by the kernel"))
    assert type(found) is expected
    assert str(found).startswith("file 'x' cannot be written: ")


def test_a_full_disk_says_what_to_do() -> None:
    with pytest.raises(ResourceExhausted) as caught, translated(lambda: "layer cannot be unpacked"):
        raise OSError(errno.ENOSPC, "")
    assert "prun rmi" in caught.value.hint


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated(lambda: "never asked"):
        raise ZeroDivisionError
