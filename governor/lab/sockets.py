"""Is a port free, and if not, who holds it."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from governor.errors import LabError

ANOTHER_ADDRESS = "give the lab another address of 127.0.0.0/8 (--address)"


def require_free(address: str, ports: Iterable[int], advice: str = ANOTHER_ADDRESS) -> None:
    """Raise LabError naming the first of `ports` that cannot be bound on `address`, its holder, and `advice`.

    Only loopback addresses are allowed: a lab must not be reachable from outside.
    """
    try:
        if not ipaddress.ip_address(address).is_loopback:
            raise LabError(f"{address} is not a loopback address: use one in 127.0.0.0/8")
    except ValueError as error:
        raise LabError(f"{address!r} is not an IP address: use one in 127.0.0.0/8") from error
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise LabError(f"cannot listen on {address}:{port}: {error}") from error
                raise LabError(
                    f"port {address}:{port} is busy, held by {holder(address, port)}; stop it, or {advice}"
                ) from error
            except OverflowError as error:
                raise LabError(f"port {port} does not exist: choose a smaller base port") from error


def is_open(address: str, port: int) -> bool:
    """Does anybody listen there?"""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, port)) == 0


def holder(address: str, port: int) -> str:
    """The process listening on TCP `port` of `address` or of all, as `name (pid N)`, as far as /proc tells us."""
    inodes = _listening_inodes(address, port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in inodes for handle in list((process / "fd").iterdir())):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{name} (pid {process.name})"
        except OSError:
            continue  # gone meanwhile, or another user's: not ours to look into
    return "an unknown process"


def _listening_inodes(address: str, port: int) -> set[str]:
    # The kernel writes an IPv4 address as one hexadecimal number in the machine's byte order.
    own = f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            continue  # no /proc (not Linux): the holder stays unknown
        for line in lines:
            fields = line.split()
            at, number = fields[1].rsplit(":", 1)
            if fields[3] == "0A" and int(number, 16) == port and (at == own or not at.strip("0")):
                inodes.add(f"socket:[{fields[9]}]")
    return inodes
