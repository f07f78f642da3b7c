"""Slurm on the loopback: its daemons, with a node of two cores, in a folder of their own."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

DAEMONS = ("munged", "slurmctld", "slurmd")
CONF = """
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def can_start():
    """Are its daemons here, and may we start them?"""
    return os.geteuid() == 0 and all(map(shutil.which, DAEMONS))


def free_ports(n):
    with ExitStack() as held:
        taken = [held.enter_context(socket.socket()) for _ in range(n)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


@contextmanager
def slurm_on_loopback(folder):
    """Run the daemons; clients find them by `SLURM_CONF`."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host, conf = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    told = {"folder": folder, "host": host, "ports": free_ports(2), "cores": os.cpu_count()}
    conf.write_text(CONF.format(**told))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    munge = [f"--socket={folder}/munge.socket", f"--key-file={key}", f"--pid-file={folder}/m.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--force"]
    os.environ["SLURM_CONF"] = str(conf)
    begun = []
    commands = [["munged", "--foreground", *munge]]
    commands += [[daemon, "-D", "-f", str(conf)] for daemon in ("slurmctld", "slurmd")]
    try:
        for command in commands:
            output = (folder / f"{command[0]}.out").open("w")
            begun.append(subprocess.Popen(command, stdout=output, stderr=output))
            output.close()
        wait_for_node()
        yield
    finally:
        for process in reversed(begun):
            process.terminate()
            process.wait()
        del os.environ["SLURM_CONF"]


def wait_for_node():
    """Wait until the node takes jobs."""
    deadline = time.monotonic() + 60
    command = ["sinfo", "--noheader", "--format=%T"]
    while (
        "idle" not in subprocess.run(command, check=False, capture_output=True, text=True).stdout
    ):
        assert time.monotonic() < deadline, "Slurm's node never came"
        time.sleep(0.5)
