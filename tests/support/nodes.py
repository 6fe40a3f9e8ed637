"""Slurm's commands for one engine, without Slurm: a job runs where the submitter's files are not.

A real Slurm of two daemons on one machine (`support.slurm`) shares all of its disk; the nodes of a
cluster share the project alone. So while a job runs here, the submitter's temporary folder is gone.
"""

import os
from pathlib import Path

_SBATCH = """#!/bin/sh
# sbatch [options] --wrap="COMMAND": run it at once, as a node would.
for word; do case $word in --wrap=*) command=${{word#--wrap=}};; esac; done
mv "{mine}" "{mine}.away"
number=$(($(cat "{folder}/count" 2>/dev/null || echo 0) + 1))
echo $number > "{folder}/count"
state=COMPLETED
(export TMPDIR="{node}" SLURM_JOB_ID=$number; eval "$command") > "{folder}/$number.log" 2>&1 ||
    state=FAILED
mv "{mine}.away" "{mine}"
echo "$number|$state" >> "{folder}/states"
echo $number
"""
# Its options are no matter here: from the first word that is none on, it is the command.
_SRUN = """#!/bin/sh
while case $1 in -*) true;; *) false;; esac; do shift; done
exec "$@"
"""
_SQUEUE = """#!/bin/sh
cat "{folder}/states"
"""
_SCONTROL = """#!/bin/sh
echo "MinJobAge = 3600 sec"
"""


def install(folder: Path) -> dict[str, str]:
    """Write the commands; return the variables under which an engine finds them."""
    scripts, mine, node = folder / "bin", folder / "submitter", folder / "node"
    for each in (scripts, mine, node):
        each.mkdir(parents=True)
    commands = {
        "sbatch": _SBATCH,
        "srun": _SRUN,
        "squeue": _SQUEUE,
        "scontrol": _SCONTROL,
        "sacct": "#!/bin/sh\necho none\n",
        "sinfo": "#!/bin/sh\necho all*\n",
    }
    for name, text in commands.items():
        (scripts / name).write_text(text.format(folder=folder, mine=mine, node=node))
        (scripts / name).chmod(0o755)
    return {"PATH": os.pathsep.join([str(scripts), os.environ["PATH"]]), "TMPDIR": str(mine)}
