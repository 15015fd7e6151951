"""Memory available to this process, and sizes as text."""

import os
from collections.abc import Iterator
from pathlib import Path

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes available to this process: the machine's memory, limited by cgroups and `ulimit -v` and `-d`.

    Args:
        root: root of the file system.
    """
    import resource  # missing on Windows, where this module is still imported for sizes

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit in limits if limit != resource.RLIM_INFINITY), *_group_limits(root)])


def format_bytes(size: float) -> str:
    """Format a size in the largest unit that makes it at least 1: '96 bytes', '9.1 MiB'."""
    power = min(max(int(size), 1).bit_length() // 10, len(_UNITS) - 1)
    power -= size < 2 ** (10 * power) and power > 0
    return f"{size:.0f} bytes" if power == 0 else f"{size / 2 ** (10 * power):.1f} {_UNITS[power]}"


def _group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's cgroup and its parents.

    A container may mount its own cgroup as the root, under another path than in /proc, so the root is always included.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        if number == "0":
            mount, file = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in names.split(","):
            mount, file = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        own = mount / path.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(mount):
                text = _read(group / file).strip()
                if text.isdecimal():  # "max" is no limit
                    yield int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
