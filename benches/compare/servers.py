"""How is a server started, pinned, fed and watched? One process, seen from outside."""

import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


class Client:
    """RESP2 over one socket: what feeding and asking a server takes."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=600)
        self.file = self.socket.makefile("rb", buffering=1 << 18)

    def __call__(self, *words):
        self.socket.sendall(encode(words))
        return self.read()

    def read(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if not line:
            raise ConnectionError("the server closed the connection")
        return rest

    def feed(self, commands, batch: int = 500) -> None:
        """Sends many commands, a bounded number in flight; raises on an error reply."""
        waiting, buffer = 0, []
        for words in commands:
            buffer.append(encode(words))
            if len(buffer) == batch:
                self.socket.sendall(b"".join(buffer))
                while waiting:  # the batch before this one
                    self.read()
                    waiting -= 1
                waiting, buffer = len(buffer), []
        self.socket.sendall(b"".join(buffer))
        for _ in range(waiting + len(buffer)):
            self.read()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def encode(words) -> bytes:
    parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


class Server:
    """A running server on a port and in a directory of its own."""

    def __init__(self, name: str, command: list[str], cores: str, flags: list[str] = ()):
        self.name = name
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.dir = tempfile.mkdtemp(prefix=f"compare-{name}-")
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir, "--save", "",
                    "--appendonly", "no", *flags]
        with open(f"{self.dir}/log", "wb") as log:
            self.process = subprocess.Popen(["taskset", "-c", cores, *command, *settings], stdout=log, stderr=log)
        self.pid = self.process.pid  # taskset becomes the server: same process
        self._await_start()
        self.client = Client(self.port)

    def _await_start(self) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                probe = Client(self.port)
                try:
                    if probe("PING") == b"PONG":
                        return
                finally:
                    probe.close()
            except (OSError, RuntimeError):
                pass
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not start:\n{pathlib.Path(self.dir, 'log').read_text()[-2000:]}")

    def version(self) -> str:
        info = self.client("INFO", "server").decode()
        said = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        for key in ("peregrine_version", "valkey_version", "redis_version"):
            if key in said:
                return said[key]
        return "?"

    def cpu(self) -> float:
        """Seconds of CPU that all threads of the process have used (user + system)."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self) -> int:
        """Bytes resident, of this process alone."""
        return status_kb(self.pid, "VmRSS") * 1024

    def used(self) -> int:
        """Bytes allocated, as the server itself says."""
        info = self.client("INFO", "memory").decode()
        return next(int(line.split(":")[1]) for line in info.splitlines() if line.startswith("used_memory:"))

    def family_memory(self) -> int:
        """Bytes of the process and its children, shared pages counted once (Pss)."""
        total = 0
        for pid in [self.pid, *children(self.pid)]:
            try:
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass  # it has just ended
        return total * 1024

    def load_script(self, text: str) -> str:
        self.client("SCRIPT", "LOAD", text)
        return hashlib.sha1(text.encode()).hexdigest()

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def children(pid: int) -> list[int]:
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            pass
    return found


def status_kb(pid: int, field: str) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


class Core:
    """How much of a core did others use? Between `start` and `foreign`."""

    def __init__(self, cores: str):
        self.names = {f"cpu{n}" for n in expand(cores)}

    def start(self) -> None:
        self.before, self.at = self._busy(), time.monotonic()

    def foreign(self, ours: float) -> float:
        """The share of the cores' time that neither we used nor was idle."""
        elapsed = (time.monotonic() - self.at) * len(self.names)
        return max(0.0, (self._busy() - self.before - ours) / elapsed)

    def _busy(self) -> float:
        total = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name in self.names:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
                total += user + nice + system + irq + softirq + steal
        return total / TICK


def expand(cores: str) -> set[int]:
    """The cores of a taskset list such as 0,2-3."""
    found = set()
    for part in cores.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
