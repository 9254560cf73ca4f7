"""Real engines on loopback for tests: SLURM, Ray, PostgreSQL, an MLflow server, each gone with its `with` block.

They are what Debian and pip installed (`install.sh` beside this file), but never what already runs on the machine: own
ports, own keys, all state in the folder given. That folder's path must be short: see `short_folder`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"


class EngineError(RuntimeError):
    """An engine is not installed, did not start, or did not do what was waited for."""


# ---------------------------------------------------------------------------------------------------- processes


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for an engine's state: pytest's own are too long for sockets, and closed to the user of PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="er-"))
    folder.chmod(0o711)  # munge and PostgreSQL refuse a socket that others cannot reach
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


class EndedError(Exception):
    """What is waited for can no longer happen."""


def wait_until(done: Callable[[], object], what: str, timeout: float = 60, pause: float = 0.1) -> None:
    """Return as soon as `done` neither raises an EngineError nor says False; an EngineError if that takes too long."""
    end = time.monotonic() + timeout
    why = ""
    while True:
        try:
            if done() is not False:
                return
        except EngineError as error:
            why = f": {error}"
        if time.monotonic() > end:
            raise EngineError(f"waited {timeout:.0f} s in vain for {what}{why}")
        time.sleep(pause)


@dataclass
class Daemon:
    """A process in the foreground of nobody: its output in a file, its children known, gone when pytest dies."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls, name: str, command: Sequence[object], folder: Path, env: Mapping[str, str] | None = None, user: str = ""
    ) -> Daemon:
        """Start it in a session of its own, as `user` if given; its log is `<name>.log` in the folder."""
        log = folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})}, cwd=folder, start_new_session=True, preexec_fn=_die_with_parent,
                **_as_user(user),
            )  # fmt: skip
        return cls(name, process, log)

    def wait_for(self, done: Callable[[], object], timeout: float = 60) -> None:
        """Wait until it serves; what it logged is in the error if it does not."""

        def alive_and_done() -> object:
            if self.process.poll() is not None:
                raise EndedError(f"{self.name} ended with {self.process.returncode}")
            return done()

        try:
            wait_until(alive_and_done, self.name, timeout)
        except (EngineError, EndedError) as error:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise EngineError(f"{error}; the end of its log:\n{tail}") from None

    def kill(self) -> None:
        """SIGKILL it and all that descends from it, at once, as a machine that loses power."""
        for one in self._family():
            _ignoring_gone(one.kill)
        self._end_group()

    def stop(self, sent: signal.Signals = signal.SIGTERM, timeout: float = 20) -> None:
        """Ask it to end; kill what has not ended in time."""
        family = self._family()
        if self.process.poll() is None:
            self.process.send_signal(sent)
        _, left = psutil.wait_procs(family, timeout=timeout)
        for one in left:
            _ignoring_gone(one.kill)
        self._end_group()

    def _end_group(self) -> None:
        """Children whose parent ended first are no longer its descendants, but still of its session's group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _ignoring_gone(act: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        act()


def _die_with_parent() -> None:
    """In the child: have the kernel end it when pytest dies, even by SIGKILL (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _as_user(user: str) -> dict[str, Any]:
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _program(name: str, *folders: str) -> str:
    places = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=places)
    if found is None:
        raise EngineError(f"{name} is not installed: run tests/engines/install.sh")
    return found


def _run(command: Sequence[object], env: Mapping[str, str] | None = None, user: str = "", stdin: str = "") -> str:
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **(env or {})}, input=stdin, capture_output=True,
        text=True, timeout=120, check=False, **_as_user(user),
    )  # fmt: skip
    if done.returncode:
        raise EngineError(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return str(done.stdout)


# -------------------------------------------------------------------------------------------------------- SLURM

SLURM_CONF = """\
ClusterName=evalrun
SlurmctldHost={hostname}({host})
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# Without cred_expire a requeued job does not start again for two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
{bound}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# No control groups: containers have none to give.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
# Accounting: without it a job that was killed is never known to have ended, and submitit waits for ever.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={host}
AccountingStoragePort={dbd_port}
# Its "password" is the socket of munge; without it the default one is used.
AccountingStoragePass={folder}/munge.socket
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=2
MinJobAge=300
ReturnToService=2
# As many CPUs as the tests expect, however many this machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={node} NodeHostname={hostname} NodeAddr={host} Sockets=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
"""

SLURMDBD_CONF = """\
DbdHost={hostname}
DbdAddr={host}
DbdPort={dbd_port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost={host}
StoragePort={sql_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
DebugLevel=info
{bound}
"""


@dataclass(frozen=True)
class Slurm:
    """A cluster of one node; `env` makes sbatch, srun, sacct and submitit of any process find it."""

    folder: Path
    env: dict[str, str]
    node: str

    def run(self, *words: object) -> str:
        """A SLURM command's output."""
        return _run([_program(str(words[0])), *words[1:]], self.env)

    def submit(self, script: str, *options: str) -> int:
        """Queue a shell script; its output goes to `job-<id>.out` in the folder."""
        sent = _run(
            [_program("sbatch"), "--parsable", f"--output={self.folder}/job-%j.out", "--open-mode=append", *options],
            self.env, stdin=f"#!/bin/bash\n{script}\n",
        )  # fmt: skip
        return int(sent.strip().partition(";")[0])

    def state(self, job: int) -> str:
        """What the controller says of a job: PENDING, RUNNING, COMPLETED, PREEMPTED..."""
        shown = self.run("scontrol", "show", "job", job)
        return shown.partition("JobState=")[2].split()[0]

    def output(self, job: int) -> str:
        """What a job printed, over all its starts."""
        path = self.folder / f"job-{job}.out"
        return path.read_text() if path.exists() else ""

    def accounted(self, job: int) -> list[str]:
        """The states that the accounting has of a job, one for each time that it was started."""
        fields = ("--noheader", "--parsable2", "--allocations", "--duplicates", "--format=State")
        return self.run("sacct", *fields, "-j", job).split("\n")[:-1]

    def wait(self, job: int, state: str, timeout: float = 60) -> None:
        """Wait until the controller says that the job is in that state."""
        wait_until(lambda: self.state(job) == state, f"job {job} to be {state}", timeout, pause=0.2)


@contextmanager
def slurm(folder: Path, cpus: int = 4) -> Iterator[Slurm]:
    """A controller, a node with `cpus` CPUs and two pretended GPUs, and accounting, all run by this user.

    Partition `main` is the default; a job in `low` is preempted by one in `main`, and queued again.
    """
    ctld_port, slurmd_port, dbd_port, sql_port = free_ports(4)
    hostname = socket.gethostname().partition(".")[0]
    values: dict[str, Any] = {
        "folder": folder, "host": HOST, "hostname": hostname, "node": hostname, "cpus": cpus,
        "user": _me(), "password": secrets.token_hex(8),
        "bound": f"{'' if _named_loopback() else '# '}CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
        "ctld_port": ctld_port, "slurmd_port": slurmd_port, "dbd_port": dbd_port, "sql_port": sql_port,
    }  # fmt: skip
    for name in ("state", "spool", "sql"):
        (folder / name).mkdir(mode=0o700)
    _write(folder / "slurm.conf", SLURM_CONF.format(**values))
    _write(folder / "slurmdbd.conf", SLURMDBD_CONF.format(**values), 0o600)
    _write(folder / "gres.conf", "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    _write(folder / "munge.key", secrets.token_hex(64), 0o400)
    cluster = Slurm(folder, {"SLURM_CONF": str(folder / "slurm.conf")}, hostname)
    with ExitStack() as stack:
        _munged(stack, folder)
        _mariadb(stack, folder, sql_port, values["password"])
        dbd = _daemon(stack, "slurmdbd", [_program("slurmdbd"), "-D"], folder, cluster.env)
        dbd.wait_for(lambda: _run([_program("sacctmgr"), "--noheader", "list", "cluster"], cluster.env))
        cluster.run("sacctmgr", "--immediate", "add", "cluster", "evalrun")
        ctld = _daemon(stack, "slurmctld", [_program("slurmctld"), "-D", "-c"], folder, cluster.env)
        slurmd = _daemon(stack, "slurmd", [_program("slurmd"), "-D", "-c"], folder, cluster.env)
        ctld.wait_for(lambda: _run([_program("scontrol"), "ping"], cluster.env))
        slurmd.wait_for(lambda: cluster.run("sinfo", "--noheader", "--format=%T").strip() == "idle")
        stack.callback(_end_jobs, cluster)
        yield cluster


def _named_loopback() -> bool:
    """SLURM listens on the address of this machine's name alone, or on all: it has no way to be told 127.0.0.1."""
    with suppress(OSError):
        return socket.gethostbyname(socket.gethostname()) == HOST
    return False


def _munged(stack: ExitStack, folder: Path) -> None:
    words = [f"--{key}={folder}/munge.{end}" for key, end in
             (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("seed-file", "seed"))]  # fmt: skip
    munged = _daemon(stack, "munged", [_program("munged"), "--foreground", "--num-threads=2", *words], folder)
    munged.wait_for(lambda: _run([_program("munge"), "--no-input", "--socket", folder / "munge.socket"]))


def _mariadb(stack: ExitStack, folder: Path, port: int, password: str) -> None:
    data, sock = folder / "sql", folder / "sql.socket"
    _run([
        _program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--user={_me()}", "--skip-test-db",
        "--auth-root-authentication-method=normal",
    ])  # fmt: skip
    daemon = _daemon(stack, "mariadb", [
        _program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--user={_me()}", f"--socket={sock}",
        f"--port={port}", f"--bind-address={HOST}", "--skip-name-resolve", "--innodb-lock-wait-timeout=900",
        "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", f"--pid-file={folder}/sql.pid",
    ], folder)  # fmt: skip
    client = [_program("mariadb"), "--no-defaults", f"--socket={sock}", "--user=root", "--execute"]
    daemon.wait_for(lambda: _run([*client, "select 1"]))
    _run([*client, f"create user slurm@'{HOST}' identified by '{password}'; grant all on slurm.* to slurm@'{HOST}';"])


def _end_jobs(cluster: Slurm) -> None:
    """No step must outlive slurmd: its process would be nobody's."""
    cluster.run("scancel", "--user", _me())
    wait_until(lambda: not cluster.run("squeue", "--noheader").strip(), "the last jobs to end", 30)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _daemon(
    stack: ExitStack, name: str, command: Sequence[object], folder: Path, env: Mapping[str, str] | None = None
) -> Daemon:
    daemon = Daemon.start(name, command, folder, env)
    stack.callback(daemon.stop)
    return daemon


# ---------------------------------------------------------------------------------------------------------- Ray


@dataclass
class RayCluster:
    """A head and other nodes, all on this machine; with `env`, `ray.init()` of any process joins it at the head.

    pytest itself never does: what Ray leaves in a process would reach into the next test.
    """

    folder: Path
    env: dict[str, str]
    head: Daemon
    nodes: list[Daemon] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def add_node(self, cpus: int = 2, gpus: int = 0) -> Daemon:
        """Start one more machine, as far as Ray can tell; `kill` of what is returned is its loss of power."""
        number = len(self.nodes) + 1
        before = self.alive()
        words = _ray_start(f"127.0.0.{number + 2}", cpus, gpus, f"--address={self.env['RAY_ADDRESS']}")
        node = Daemon.start(f"ray-node-{number}", words, self.folder, self.env)
        self._stack.callback(node.kill)
        self.nodes.append(node)
        node.wait_for(lambda: self.alive() > before, timeout=120)
        return node

    def alive(self) -> int:
        """How many nodes the cluster counts."""
        asked = "import ray; ray.init(logging_level='ERROR'); print(sum(node['Alive'] for node in ray.nodes()))"
        return int(_run([sys.executable, "-c", asked], self.env).split()[-1])


@contextmanager
def ray_cluster(folder: Path, nodes: int = 2, cpus: int = 2) -> Iterator[RayCluster]:
    """A head and `nodes` - 1 others with `cpus` CPUs each, that ask every client for a token as Ray 2.60 does."""
    (port,) = free_ports(1)
    address = "127.0.0.2"  # Ray replaces 127.0.0.1 by an address that others can reach, but no other loopback one
    env = {
        "RAY_ADDRESS": f"{address}:{port}", "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_health_check_period_ms": "500",  # a lost node is known after three seconds, not after twenty
    }  # fmt: skip
    words = _ray_start(address, cpus, 0, "--head", f"--port={port}", "--include-dashboard=false")
    with ExitStack() as stack:
        head = Daemon.start("ray-head", [*words, f"--ray-client-server-port={free_ports(1)[0]}"], folder, env)
        stack.callback(head.kill)
        cluster = RayCluster(folder, env, head, [], stack)
        head.wait_for(lambda: cluster.alive() == 1, timeout=120)
        for _ in range(nodes - 1):
            cluster.add_node(cpus)
        yield cluster


def _ray_start(address: str, cpus: int, gpus: int, *words: str) -> list[str]:
    ray = _program("ray", str(Path(sys.executable).parent))
    return [
        ray, "start", "--block", f"--node-ip-address={address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}",
        f"--object-store-memory={100 * 2**20}", "--disable-usage-stats",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", *words,
    ]  # fmt: skip


# --------------------------------------------------------------------------------------- PostgreSQL and MLflow


@dataclass(frozen=True)
class Postgres:
    """A database server with a password."""

    folder: Path
    port: int
    password: str

    def database(self, name: str) -> str:
        """Create an empty database; returns its address for SQLAlchemy."""
        self.run(f'create database "{name}"')
        return f"postgresql+psycopg://evalrun:{self.password}@{HOST}:{self.port}/{name}"

    def run(self, sql: str, database: str = "postgres") -> str:
        """What psql prints for a statement: bare values, one row a line."""
        words = ["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", f"--host={HOST}"]
        return _run(
            [_program("psql"), *words, f"--port={self.port}", "--username=evalrun", f"--dbname={database}"],
            {"PGPASSWORD": self.password}, stdin=sql,
        ).strip()  # fmt: skip


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A cluster of its own, run by Debian's `postgres` if this is root, whom PostgreSQL refuses."""
    binaries = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    (port,) = free_ports(1)
    server = Postgres(folder, port, secrets.token_hex(8))
    data, key, user = folder / "data", folder / "password", ""
    data.mkdir(mode=0o700)
    _write(key, server.password, 0o600)
    if os.getuid() == 0:
        user = "postgres"
        for path in (folder, data, key):
            shutil.chown(path, user, user)
    _run([
        _program("initdb", *binaries), f"--pgdata={data}", "--username=evalrun", f"--pwfile={key}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
    ], user=user)  # fmt: skip
    words = ["-D", data, "-h", HOST, "-p", port, "-k", folder, "-c", "fsync=off"]
    daemon = Daemon.start("postgres", [_program("postgres", *binaries), *words], folder, user=user)
    try:
        daemon.wait_for(lambda: server.run("select 1"))
        yield server
    finally:
        daemon.stop(signal.SIGINT)  # to PostgreSQL: end now, whoever is connected


@dataclass
class MlflowServer:
    """A tracking server that can be lost, and brought back at the same address with what it had stored."""

    folder: Path
    uri: str
    store: str
    _daemon: Daemon | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [
            sys.executable, "-m", "mlflow", "server", f"--host={HOST}", f"--port={self.uri.rpartition(':')[2]}",
            "--workers=1", f"--backend-store-uri={self.store}", f"--artifacts-destination={self.folder}/artifacts",
        ]  # fmt: skip
        env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        daemon = self._daemon = Daemon.start("mlflow", words, self.folder, env)
        daemon.wait_for(self._healthy, timeout=120)

    def kill(self) -> None:
        """Lose it, as by SIGKILL; nothing when it is lost already."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def mlflow_server(database: Postgres, folder: Path) -> Iterator[MlflowServer]:
    """`mlflow server` of this venv on a database of its own, serving artifacts from the folder."""
    (port,) = free_ports(1)
    server = MlflowServer(folder, f"http://{HOST}:{port}", database.database(f"mlflow_{port}"))
    try:
        server.start()
        yield server
    finally:
        server.kill()
