"""Standard streams for crun keep their owner."""

from __future__ import annotations

import errno
import os

import pytest

from prun_linux.streams import guarded

pytestmark = pytest.mark.root


def test_a_device_can_be_read_and_written_and_not_given_away() -> None:
    null, before = os.open(os.devnull, os.O_RDWR), os.stat(os.devnull)
    reader, writer = os.pipe()
    try:
        with guarded((null, writer, null)) as streams:
            assert streams[1] == writer
            assert (os.read(streams[0], 1), os.write(streams[2], b"x")) == (b"", 1)
            for fd in (streams[0], streams[2]):
                assert not os.get_inheritable(fd)
                with pytest.raises(OSError, match="Read-only") as caught:
                    os.fchown(fd, before.st_uid, before.st_gid)
                assert caught.value.errno == errno.EROFS
        for fd in (streams[0], streams[2]):
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
    finally:
        for fd in (null, reader, writer):
            os.close(fd)
