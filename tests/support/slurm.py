"""A real Slurm of two nodes on this machine, for the length of a test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")

# Two daemons stand for two machines. The GPUs are any device files: nothing opens them.
_CLUSTER = """
ClusterName=reiqa
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={first}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
MinJobAge=600
GresTypes=gpu
KillWait=5
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{second}-{third}] CPUs=16 \
RealMemory=120000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_GPUS = "NodeName=n[1-2] Name=gpu File=/dev/tty[1-2]\n"


def missing() -> list[str]:
    """What a cluster here lacks; empty where it can be started."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return lacking + ([] if os.getuid() == 0 else ["root"])


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start it; give the variables by which its commands find it, and end it again."""
    first = _free_ports()
    ports = {"first": first, "second": first + 1, "third": first + 2}
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    file = folder / "slurm.conf"
    file.write_text(_CLUSTER.format(folder=folder, host=socket.gethostname(), **ports))
    (folder / "gres.conf").write_text(_GPUS)
    environment = {**os.environ, "SLURM_CONF": str(file)}
    commands = [["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", node] for node in ("n1", "n2"))]
    daemons = [
        subprocess.Popen(
            [*command, "-f", str(file)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        _await_idle(environment)
        yield {"SLURM_CONF": str(file), "PATH": f"{_srun(folder)}{os.pathsep}{os.environ['PATH']}"}
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def _srun(folder: Path) -> Path:
    """A folder with an srun that knows the cluster: the plugin's job steps forget SLURM_CONF."""
    script = folder / "bin" / "srun"
    script.parent.mkdir()
    real = shutil.which("srun")
    script.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    script.chmod(0o755)
    return script.parent


def _await_idle(environment: dict[str, str]) -> None:
    for _ in range(100):
        command = ["sinfo", "-h", "-t", "idle", "-o", "%D"]
        seen = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if seen.stdout.strip() == "2":
            return
        time.sleep(0.3)
    raise RuntimeError(f"Slurm did not start: {seen.stdout}{seen.stderr}")


def _free_ports() -> int:
    """The first of three ports in a row that are free."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            first = one.getsockname()[1]
        try:
            for port in range(first, first + 3):
                with socket.socket() as each:
                    each.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first
