from __future__ import annotations

import os
import socket

import pytest

from governor.errors import LabError
from governor.lab.sockets import holder, require_free


def test_a_busy_port_is_named_with_its_holder(address: str) -> None:
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LabError) as caught:
            require_free(address, [port])
    assert f"{address}:{port} is busy" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    require_free(address, [port])


def test_who_holds_the_same_port_elsewhere_is_not_accused(address: str) -> None:
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        assert holder(address, port).endswith(f"(pid {os.getpid()})")
        assert holder("127.0.81.77", port) == "an unknown process"


@pytest.mark.parametrize(
    ("address", "port", "words"),
    [
        ("10.1.2.3", 19000, "not a loopback address"),
        ("localhost", 19000, "not an IP address"),
        ("127.0.0.1", 70000, "port 70000 does not exist"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(address: str, port: int, words: str) -> None:
    with pytest.raises(LabError, match=words):
        require_free(address, [port])
