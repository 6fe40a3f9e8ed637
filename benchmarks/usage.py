"""What a command takes of the machine, and which machine that is."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Used:
    """What one process took, seconds and mebibytes at the peak; its children's peak apart."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def reiqa(*verb: str) -> Used:
    """Run a verb as a user does, in a process of its own.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    running = subprocess.Popen([sys.executable, "-m", "reiqa", *verb], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"reiqa {' '.join(verb)}: failed; run it in {Path.cwd()} to see why")
    return Used(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def processor() -> str:
    """Name the processor, as its maker does."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
