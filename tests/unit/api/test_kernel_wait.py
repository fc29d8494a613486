"""How long data has lain, as the system tells."""

import socket
import sys
import time

import pytest

from services.api.kernel_wait import LEAST_S, lain_s


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_data_that_nobody_read_has_lain_since_it_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sender:
        taken, _ = listener.accept()
        with taken:
            sender.sendall(b"a")
            time.sleep(0.3)
            assert lain_s(taken) > 0.2
            sender.sendall(b"b")
            assert taken.recv(2, socket.MSG_WAITALL) == b"ab"
            assert lain_s(taken) < 0.2, "more came just now"


def test_what_nobody_can_tell_is_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert lain_s(ours) == 0.0, "no TCP"
    assert lain_s(ours) == 0.0, "closed"
    assert lain_s(None) == 0.0


def test_what_is_too_short_to_be_told_or_no_socket_is_nothing() -> None:
    class Told:
        def __init__(self, milliseconds: int) -> None:
            self.milliseconds = milliseconds

        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            return bytes(size - 4) + self.milliseconds.to_bytes(4, sys.byteorder)

    class Silent:
        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            return b""

    assert lain_s(Told(int(LEAST_S * 1000) - 1)) == 0.0
    assert lain_s(Silent()) == 0.0
    if sys.platform == "linux":
        assert lain_s(Told(137)) == 0.137
