"""A Postgres of the tests' own: in a temporary folder, reached by a socket in it, no port."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

DEBIAN = Path("/usr/lib/postgresql")


def binary(name: str) -> str | None:
    """Return the path of one of Postgres's programs."""
    found = sorted(DEBIAN.glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


class Cluster:
    """A server that tests stop and start."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder, self.user, self._process = folder, user, None

    def run(self, program: str, *arguments: str) -> None:
        path = binary(program)
        assert path is not None
        subprocess.run(
            [path, *arguments], check=True, capture_output=True, user=self.user, cwd=self.folder
        )

    def start(self) -> None:
        path = binary("postgres")
        assert path is not None
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off"]
        self._process = subprocess.Popen(
            [path, "-D", str(self.folder / "data"), *(f"--{setting}" for setting in settings)],
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while not self._ready():
            assert self._process.poll() is None, "postgres did not start"
            assert time.monotonic() < until, "postgres does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": clients are sent away
            self._process.wait(30)
            self._process = None

    def url(self, schema: str) -> str:
        """Return the URL of an empty schema."""
        self.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        options = quote(f"-csearch_path={schema}")
        return f"postgresql://postgres@/postgres?host={self.folder}&options={options}"

    def sql(self, statement: str) -> None:
        self.run("psql", "-h", str(self.folder), "-U", "postgres", "-qc", statement)

    def _ready(self) -> bool:
        path = binary("pg_isready")
        assert path is not None
        return subprocess.run([path, "-q", "-h", str(self.folder)], check=False).returncode == 0


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a new server; Postgres refuses root, so there it runs as the user `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="talkhead-pg-", dir="/tmp"))  # a socket's path is short
    server = Cluster(folder, "postgres" if os.getuid() == 0 else None)
    try:
        if server.user is not None:
            shutil.chown(folder, server.user)
        server.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
