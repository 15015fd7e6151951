"""How much memory this process may have, and sizes as text."""

import os
from collections.abc import Iterator
from pathlib import Path

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may have: the machine's, as far as its control groups and `ulimit -v` and `-d` let it.

    Args:
        root: where the machine's files are.
    """
    import resource  # not on Windows, where this module is imported for sizes

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit in limits if limit != resource.RLIM_INFINITY), *_group_limits(root)])


def shown_bytes(size: float) -> str:
    """A size in the largest unit of which it is at least one: '96 bytes', '9.1 MiB'."""
    power = min(max(int(size), 1).bit_length() // 10, len(_UNITS) - 1)
    power -= size < 2 ** (10 * power) and power > 0
    return f"{size:.0f} bytes" if power == 0 else f"{size / 2 ** (10 * power):.1f} {_UNITS[power]}"


def _group_limits(root: Path) -> Iterator[int]:
    """Limits of this process's control group and of those that it is in; none where there are no such groups.

    A container may show its own group as the root of all, under another path than /proc names: the root counts always.
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
