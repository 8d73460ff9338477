"""Runs the containers of docker-compose.yml as plain processes: what Docker would do, by hand.

Commands, environments, health checks, order and grace are the file's own. Only this is translated,
and mechanically (`AddressBook`):

* HOST:PORT of a service of the file, or of 127.0.0.1 inside one → 127.0.0.1 and a free port;
  `dns:///NAME:PORT` of a name that several share → `ipv4:` and all of their addresses;
* the variables …__GRPC_PORT and …__METRICS_PORT, which say where to listen, and 0.0.0.0;
* /data → the directory of the volume mounted there, /tmp → a directory of the container's own.

As far as this machine lets it, a process is held as the file says: another user, no capabilities,
no new privileges, and everything but these directories read-only.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy

from real_parts.compose_file import Container, Image
from real_parts.kafka import free_ports

HEALTH_PAUSE_SECONDS = 1.0
LOG_LINES_SHOWN = 40
LISTEN = re.compile(r"\w+__(GRPC|METRICS)_PORT")


class AddressBook:
    """Which port of this machine stands for which of a container."""

    def __init__(self, containers: Mapping[str, Container]) -> None:
        self._shared: dict[str, list[str]] = {}
        for container in containers.values():
            for name in container.names:
                self._shared.setdefault(name, []).append(container.name)
        self._ports: dict[tuple[str, int], int] = {}
        hosts = "|".join(sorted(map(re.escape, self._shared), key=len, reverse=True))
        self._address = re.compile(rf"(dns:///)?(?<![\w.-])({hosts}|127\.0\.0\.1):(\d+)")

    def set(self, name: str, port: int, ours: int) -> None:
        """Something that runs already."""
        self._ports[name, port] = ours

    def port(self, name: str, port: int) -> int:
        """Where this port of one container is."""
        if (name, port) not in self._ports:
            self._ports[name, port] = free_ports(1)[0]
        return self._ports[name, port]

    def translate(self, text: str, own: str) -> str:
        """Every address in a text of the container `own`."""

        def replaced(found: re.Match[str]) -> str:
            names = [own] if found[2] == "127.0.0.1" else self._shared[found[2]]
            places = [f"127.0.0.1:{self.port(name, int(found[3]))}" for name in names]
            assert len(places) == 1 or found[1], f"{found[0]} is {names}: only dns:/// finds all"
            return ("ipv4:" if found[1] else "") + ",".join(places)

        return self._address.sub(replaced, text)


class Isolation:
    """A prefix of a command that holds a process as its container is held."""

    def __init__(self, user: str, site: Path) -> None:
        uid, gid = user.split(":")
        self.user: tuple[int, int] | None = None
        self.python = sys.executable
        self.read_only = False
        self._drop: list[str] = []
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            return
        drop = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
        drop += ["--bounding-set=-all", "--inh-caps=-all"]
        python = _interpreter_for_all(drop, site)
        if python is not None:
            self._drop, self.user, self.python = drop, (int(uid), int(gid)), python
            self.read_only = _works([*self._read_only_root([site]), *drop, "true"])

    def hold(self, command: Sequence[str], writable: Sequence[Path]) -> list[str]:
        """The command, held as far as this machine can."""
        for directory in writable:
            directory.mkdir(parents=True, exist_ok=True)
            if self.user:
                os.chown(directory, *self.user)
        root = self._read_only_root(writable) if self.read_only else []
        return [*root, *self._drop, *command]

    @staticmethod
    def _read_only_root(writable: Sequence[Path]) -> list[str]:
        """A mount namespace in which only these directories can be written."""
        script = (
            'for place in "$@"; do [ "$place" = -- ] && break; mount --bind "$place" "$place"; '
        )
        script += 'shift; done; shift; mount -o remount,bind,ro / && exec "$@"'
        unshare = ["unshare", "--mount", "--propagation", "private"]
        return [*unshare, "sh", "-ec", script, "sh", *map(str, writable), "--"]


def _interpreter_for_all(drop: Sequence[str], site: Path) -> str | None:
    """A Python of this version that the other user may start, and may start again from inside:
    one that lies in somebody's home directory does not do."""
    name = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        again = 'exec "$0" -c "import numpy, grpc, foryou"'
        environment = {"PYTHONPATH": python_path(site)}
        if _works([*drop, "sh", "-c", again, python], environment):
            return python
    return None


def python_path(site: Path) -> str:
    """Our packages as installed, then the libraries of this interpreter."""
    return os.pathsep.join([str(site), str(Path(numpy.__file__).parents[1])])


def _works(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    given = {**os.environ, **(environment or {})}
    run = subprocess.run(command, capture_output=True, cwd="/", env=given, timeout=120)
    return run.returncode == 0


class Containers:
    """The file's own services as processes; leaving the `with` kills what is left."""

    def __init__(
        self,
        containers: Mapping[str, Container],
        image: Image,
        book: AddressBook,
        directory: Path,
        site: Path,
    ) -> None:
        """`site`: where the installed packages are, as the image has them."""
        self.containers, self._image, self.book = containers, image, book
        self._directory, self._site = directory, site
        self.isolation = Isolation(image.user, site)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Starts one container's command."""
        self._run_directory(name).mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as out, self.log(name, "err").open("ab") as err:
            self.running[name] = subprocess.Popen(
                self._held(name, [*self._entrypoint(), *self._command(name)]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._environment(name),
                cwd=self._working_directory(name),
                start_new_session=True,
            )

    def wait(self, name: str, condition: str, seconds_max: float) -> None:
        """What `depends_on` waits for: health by the file's own command, or a clean end."""
        end_s = time.monotonic() + seconds_max
        while not self._met(name, condition):
            assert time.monotonic() < end_s, f"{name} is not {condition}:\n{self.tail(name)}"
            time.sleep(HEALTH_PAUSE_SECONDS)

    def terminate(self, name: str) -> None:
        """What `docker stop` sends."""
        self.running[name].send_signal(signal.SIGTERM)

    def ended(self, name: str, seconds_max: float) -> int:
        """Exit code; fails when it is not over in time."""
        try:
            return self.running[name].wait(seconds_max)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{name} did not end within {seconds_max:.0f} s:\n{self.tail(name)}"
            ) from None

    def log(self, name: str, stream: str = "out") -> Path:
        return self._run_directory(name) / f"{stream}.log"

    def tail(self, name: str) -> str:
        """The end of what it said."""
        lines = [
            line
            for stream in ("out", "err")
            for line in self.log(name, stream).read_text().splitlines()[-LOG_LINES_SHOWN:]
        ]
        return "\n".join(line[:600] for line in lines)

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def _met(self, name: str, condition: str) -> bool:
        code = self.running[name].poll()
        if condition == "service_completed_successfully":
            assert code in (None, 0), f"{name} ended with {code}:\n{self.tail(name)}"
            return code == 0
        assert code is None, f"{name} ended with {code}:\n{self.tail(name)}"
        return condition == "service_started" or self.healthy(name)

    def healthy(self, name: str) -> bool:
        """Its health check's command, once."""
        check = self.containers[name].health
        assert check is not None, f"{name} has no health check"
        assert check[:2] == ["CMD", *self._image.entrypoint], f"{name}: {check}"
        words = [self._translated(word, name) for word in check[2:]]
        run = subprocess.run(
            self._held(name, [*self._entrypoint(), *words]),
            capture_output=True,
            env=self._environment(name),
            cwd=self._working_directory(name),
            timeout=60,
        )
        return run.returncode == 0

    def _entrypoint(self) -> list[str]:
        """`foryou` of the image is this function of the installed package."""
        assert self._image.entrypoint == ["foryou"]
        return [self.isolation.python, "-P", "-m", "foryou.cli"]

    def _held(self, name: str, command: list[str]) -> list[str]:
        return self.isolation.hold(command, list(self._places(name).values()))

    def _command(self, name: str) -> list[str]:
        return [self._translated(word, name) for word in self.containers[name].command]

    def _environment(self, name: str) -> dict[str, str]:
        """The image's and the file's; nothing of this process's own but where programs are."""
        given = {**self._image.environment, **self.containers[name].environment}
        translated = {
            key: str(self.book.port(name, int(value)))
            if LISTEN.fullmatch(key)
            else self._translated(value, name)
            for key, value in given.items()
        }
        return {
            **translated,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": python_path(self._site),
            "TMPDIR": str(self._places(name)["/tmp"]),
        }

    def _translated(self, text: str, name: str) -> str:
        text = self.book.translate(text, name).replace("0.0.0.0", "127.0.0.1")
        places = self._places(name)
        known = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, places))})(?![\w.-])")
        return known.sub(lambda found: str(places[found[1]]), text)  # once: /tmp is in both

    def _places(self, name: str) -> dict[str, Path]:
        """What the container may write: its volumes and /tmp."""
        volumes = {
            place: self._directory / "volumes" / source
            for place, source in self.containers[name].volumes.items()
        }
        return {**volumes, "/tmp": self._directory / "tmp" / name}

    def _working_directory(self, name: str) -> Path:
        """The image's; where no volume is mounted there, one that cannot be written."""
        return self._places(name).get(self._image.workdir, Path("/"))

    def _run_directory(self, name: str) -> Path:
        return self._directory / "logs" / name
