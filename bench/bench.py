"""Measure prun beside its peers, in one run and interleaved: ``make bench``.

run      a cold `run --rm IMAGE true`: runc on a ready bundle, prun, podman, ctr; the same image, the same runc
containerd  the same through the engine containerd, and by ctr
library  prun.run() in one process
explain  what a run pays that keeps why each field of its spec is as it is (--explain)
import   load and unpack a Debian image and one of 100,000 small files into an empty store; CPU time and memory too
look     what a look for the command costs a run: the import and the look, in a new interpreter each time
idle     the memory of what stays with a container that does nothing: conmon, or containerd's shim
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
PRUN = str(Path(sys.executable).parent / "prun")
BUSYBOX = HERE.parent / "dist" / "busybox.tar"
NAME = "docker.io/library/busybox:latest"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")

# All but the look itself a run has imported by then.
LOOK = """
import time
import prun.api, prun.pipeline, prun.rootfs.safepath, prun.spec.user, prun_linux.oci, prun_linux.places
import prun.rootfs.syscalls; prun.rootfs.syscalls._libc()  # it has mounted the root
from prun.rootfs.safepath import Root
path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
spec = {{"process": {{"args": [{args!r}], "env": [path]}}}}
with Root({root!r}) as root:
    began = time.perf_counter()
    from prun_linux.command import check_command
    check_command(spec, root, ["/proc", "/dev", "/sys", "/etc/hosts"])
    print((time.perf_counter() - began) * 1000)
"""


class Peer(NamedTuple):
    """One thing to measure: ``before`` is not timed, ``run`` is."""

    name: str
    run: Callable[[], None]
    before: Callable[[], None] = lambda: None


def measure(peers: list[Peer], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds by peer, from rounds in which each has its turn; the first round does not count."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in peers:
            peer.before()
            began = time.perf_counter()
            peer.run()
            if number:
                times[peer.name].append((time.perf_counter() - began) * 1000)
    return times


def report(title: str, times: dict[str, list[float]], ours: str, others: tuple[str, ...], aim: float | None) -> None:
    """Print a table, and the ratio of ``ours`` to the quickest of ``others``."""
    print(f"\n{title}\n{'':26}{'median':>10}{'min':>10}{'max':>10}   ms")
    for name, values in times.items():
        print(f"  {name:24}{statistics.median(values):10.1f}{min(values):10.1f}{max(values):10.1f}")
    best = min(others, key=lambda name: statistics.median(times[name]))
    ratio = statistics.median(times[ours]) / statistics.median(times[best])
    print(f"  {ours} / {best}: {ratio:.2f}" + (f"   (aim: at most {aim})" if aim else ""))


def command(*words: str, **more: str) -> Callable[[], None]:
    """Return a call that runs a command and insists on its success."""
    environment = {**os.environ, **more}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode

    def call() -> None:
        done = subprocess.run(words, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.decode()}")

    return call


class Bench:
    """Stores of its own for every peer, below one temporary directory."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.prun = (PRUN, "--root", f"{scratch}/prun", "--state", f"{scratch}/prun-state")
        self.podman = ("podman", "--root", f"{scratch}/podman", "--runroot", f"{scratch}/podman-run",
                       "--cgroup-manager", "cgroupfs", "--runtime", "runc")  # fmt: skip
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.usage: dict[str, list[tuple[float, float]]] = {}
        self.ctr = ("ctr", "--address", f"{scratch}/containerd.sock")

    @contextmanager
    def containerd(self) -> Iterator[None]:
        """Run a containerd of our own, and end it."""
        daemon = start_containerd(self.scratch, self.scratch / "containerd.sock")
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait()

    def bundle(self) -> Path:
        """Make a bundle for runc, with the very config.json that prun would give it."""
        path = self.scratch / "bundle"
        (path / "rootfs" / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
        (path / "rootfs/bin/true").symlink_to("busybox")
        spec = subprocess.run((*self.prun, "spec", "busybox", "true"), check=True, capture_output=True).stdout
        (path / "config.json").write_bytes(spec)
        return path

    def run(self, rounds: int) -> None:
        """Compare cold runs."""
        command(*self.prun, "load", "--tag", "busybox", str(BUSYBOX))()
        command(*self.podman, "load", "-i", str(BUSYBOX))()
        command(*self.ctr, "images", "import", str(BUSYBOX))()
        bundle = self.bundle()
        plain = json.loads((bundle / "config.json").read_text())
        plain["linux"].pop("seccomp", None)
        unfiltered = self.scratch / "bundle-unfiltered"
        shutil.copytree(bundle, unfiltered, symlinks=True)
        (unfiltered / "config.json").write_text(json.dumps(plain))
        peers = [
            Peer("runc run", command("runc", "run", "--bundle", str(bundle), "bench-runc")),
            Peer("runc run, no seccomp", command("runc", "run", "--bundle", str(unfiltered), "bench-runc-2")),
            Peer("prun run --rm", command(*self.prun, "run", "--rm", "busybox", "true")),
            Peer("  seccomp=unconfined",
                 command(*self.prun, "run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "true")),
            Peer("podman run --rm", command(*self.podman, "run", "--rm", "--net", "none", *LIMITS, "busybox", "true")),
            Peer("ctr run --rm", command(*self.ctr, "run", "--rm", NAME, "bench-ctr", "true")),
            Peer("  --seccomp", command(*self.ctr, "run", "--rm", "--seccomp", NAME, "bench-ctr", "true")),
        ]  # fmt: skip
        times = measure(peers, rounds)
        report("run: a cold `run --rm busybox true`", times, "prun run --rm", ("podman run --rm", "ctr run --rm"), 0.75)
        print("  (podman filters system calls as prun does; ctr does not)")

    def through_containerd(self, rounds: int) -> None:
        """Compare cold runs through the same containerd."""
        prun = (*self.prun, "--engine", "containerd", "--address", self.ctr[2])
        command(*self.ctr, "images", "import", str(BUSYBOX))()
        command(*prun, "load", "--tag", "busybox", str(BUSYBOX))()
        peers = [
            Peer("prun --engine containerd", command(*prun, "run", "--rm", "busybox", "true")),
            Peer("ctr run --rm --seccomp", command(*self.ctr, "run", "--rm", "--seccomp", NAME, "bench-ctr", "true")),
        ]
        times = measure(peers, rounds)
        report("containerd: a cold `run --rm busybox true`", times, peers[0].name, (peers[1].name,), 1.0)

    def library(self, rounds: int) -> None:
        """Compare prun.run() in one process with runc itself."""
        import prun

        runner = prun.Runner(root=f"{self.scratch}/prun", state=f"{self.scratch}/prun-state")
        peers = [
            Peer("runc run", command("runc", "run", "--bundle", f"{self.scratch}/bundle", "bench-runc")),
            Peer("Runner.run()", lambda: _expect_success(runner.run("busybox", ["true"]).exit_code)),
        ]
        report("library: one process, many runs", measure(peers, rounds), "Runner.run()", ("runc run",), None)

    def explain(self, rounds: int) -> None:
        """Say what --explain adds to a run, and to the spec alone; a run without it imports none of its modules."""
        command(*self.prun, "load", "--tag", "busybox", str(BUSYBOX))()
        from prun.api import Runner
        from prun.explaining import keep
        from prun.pipeline import explain, plan

        runner = Runner(root=f"{self.scratch}/prun", state=f"{self.scratch}/prun-state", plugins=[])
        request = runner.request("busybox", ["true"], memory="64m", cap_add=["NET_ADMIN"])
        spec = Peer("the spec alone", lambda: plan(request, runner.hooks))
        kept = Peer("  recorded and kept", lambda: keep(explain(request, runner.hooks), f"{self.scratch}/explained"))
        words = ("--rm", "-m", "64m", "--cap-add", "NET_ADMIN", "busybox", "true")
        peers = [
            Peer("prun run", command(*self.prun, "run", *words)),
            Peer("prun run --explain", command(*self.prun, "run", "--explain", *words)),
        ]
        report("explain: in one process", measure([spec, kept], rounds * 5), kept.name, (spec.name,), None)
        report("explain: cold runs", measure(peers, rounds), "prun run --explain", ("prun run",), None)

    def unpack(self, rounds: int) -> None:
        """Compare import and unpack of images, into new stores on a file system where nothing was deleted.

        ext4 looks long for inodes after many were deleted, so that a store removed before a round would be paid for
        in that round, by whoever comes next.
        """
        with self.file_system() as disk:
            stores = (disk / f"store-{number}" for number in itertools.count())
            for what, image, aim, count in (
                ("a Debian image", debian_layout(self.scratch), 0.5, rounds),
                ("100,000 small files", small_files_layout(self.scratch), 1.0, max(2, rounds // 3)),
            ):
                self.compare_imports(what, image, aim, count, stores)
            for daemon in self.daemons:
                daemon.terminate()
                daemon.wait()
            for line in Path("/proc/self/mounts").read_text().splitlines():
                if f" {disk}/" in line:
                    subprocess.run(("umount", line.split()[1]), check=False)

    def look(self, rounds: int) -> None:
        """Time the look into a root file system that a run takes before it creates anything (``docs/failures.md``)."""
        root = self.scratch / "look"
        (root / "bin").mkdir(parents=True)
        (root / "opt").mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        (root / "opt/script").write_text("#!/bin/sh\n")
        (root / "opt/script").chmod(0o755)
        environment = {**os.environ}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        print(f"\nlook: for the command, before anything is created\n{'':26}{'median':>10}{'min':>10}{'max':>10}   ms")
        for name, args in (("a program in PATH", "sh"), ("a script", "/opt/script")):
            code = LOOK.format(root=str(root), args=args)
            times = []
            for _ in range(rounds):
                words = (sys.executable, "-P", "-c", code)
                done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
                times.append(float(done.stdout))
            print(f"  {name:24}{statistics.median(times):10.2f}{min(times):10.2f}{max(times):10.2f}   (aim: at most 3)")

    def idle(self, count: int) -> None:
        """Compare what stays with each of ``count`` containers that sleep, all of them there at once."""
        command(*self.prun, "load", "--tag", "busybox", str(BUSYBOX))()
        command(*self.podman, "load", "-i", str(BUSYBOX))()
        command(*self.ctr, "images", "import", str(BUSYBOX))()
        peers = {
            "prun": (*self.prun, "run", "-d", "--name", "{}", "busybox", "sleep", "1000"),
            "podman": (*self.podman, "run", "-d", "--net", "none", *LIMITS, "--name", "{}", "busybox", "sleep", "1000"),
            "ctr": (*self.ctr, "run", "-d", NAME, "{}", "sleep", "1000"),
        }
        ends = {
            "prun": (*self.prun, "rm", "-f", "{}"),
            "podman": (*self.podman, "rm", "-f", "-t", "0", "{}"),
            "ctr": (*self.ctr, "tasks", "rm", "-f", "{}"),
        }
        names = [f"idle{number}" for number in range(count)]
        try:
            for name in names:
                for words in peers.values():
                    command(*(word.format(name) for word in words))()
            marks = {"prun": f"{self.scratch}/prun-state", "podman": f"{self.scratch}/podman", "ctr": "containerd.sock"}
            print(f"\nidle: {count} containers each, KiB for one\n{'':26}{'PSS':>10}{'private':>10}{'processes':>11}")
            for peer, mark in marks.items():
                sizes = [memory_kib(pid) for pid in monitors(mark)]
                pss, private = (sum(column) / count for column in zip(*sizes, strict=True))
                print(f"  {peer:24}{pss:10.0f}{private:10.0f}{len(sizes) / count:11.1f}")
        finally:
            for name in names:
                for words in ends.values():
                    subprocess.run([word.format(name) for word in words], capture_output=True, check=False)
            subprocess.run(
                ("umount", f"{self.scratch}/podman/overlay"), capture_output=True, check=False
            )  # stays mounted

    def compare_imports(self, what: str, layout: Path, aim: float, rounds: int, stores: Iterator[Path]) -> None:
        archive = layout.with_suffix(".tar")
        command("skopeo", "copy", f"oci:{layout}:bench", f"oci-archive:{archive}:docker.io/library/image:bench")()
        peers = [
            self.importer("prun load", stores, lambda at: (
                PRUN, "--root", f"{at}/root", "--state", f"{at}/state", "load", "--tag", "image", str(archive))),
            self.importer("podman load", stores, lambda at: (
                "podman", "--root", f"{at}/root", "--runroot", f"{at}/run", "load", "-q", "-i", str(archive))),
            self.importer("ctr images import", stores, lambda at: (
                "ctr", "--address", f"{at}/socket", "images", "import", str(archive)), daemon=True),
            self.importer("umoci unpack", stores, lambda at: (
                "umoci", "unpack", "--image", f"{layout}:bench", f"{at}/bundle")),
            self.importer("skopeo copy (no unpack)", stores, lambda at: (
                "skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{archive}", f"dir:{at}/dir")),
        ]  # fmt: skip
        title = f"import: load and unpack {what} ({archive.stat().st_size / 1e6:.0f} MB archive)"
        self.usage.clear()
        times = measure(peers, rounds)
        report(title, times, "prun load", ("podman load", "ctr images import"), aim)
        print(f"{'':26}{'CPU s':>10}{'RSS MB':>10}")
        for name, used in self.usage.items():
            seconds = statistics.median(each[0] for each in used[1:])
            print(f"  {name:24}{seconds:10.2f}{max(each[1] for each in used):10.0f}")

    def importer(
        self, name: str, stores: Iterator[Path], words: Callable[[Path], tuple[str, ...]], *, daemon: bool = False
    ) -> Peer:
        """Return a peer that imports into a new store each time; a containerd for it is started untimed."""
        current: list[Path] = []

        def before() -> None:
            current[:] = [next(stores)]
            current[0].mkdir()
            if daemon:
                self.daemons.append(start_containerd(current[0], current[0] / "socket"))
            os.sync()

        def run() -> None:
            served = self.daemons[-1].pid if daemon else 0
            began = cpu_seconds(served) if served else 0.0
            seconds, rss = used_by(*words(current[0]))
            if served:
                seconds += cpu_seconds(served) - began
                status = Path(f"/proc/{served}/status").read_text()
                rss = max(rss, int(status.partition("VmHWM:")[2].split()[0]) / 1024)
            self.usage.setdefault(name, []).append((seconds, rss))

        return Peer(name, run, before)

    @contextmanager
    def file_system(self) -> Iterator[Path]:
        """Make and mount an ext4 file system of our own."""
        image, target = self.scratch / "disk.img", self.scratch / "disk"
        with image.open("wb") as file:
            file.truncate(40 << 30)
        target.mkdir()
        command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-i", "8192", str(image))()
        command("mount", "-o", "loop", str(image), str(target))()
        try:
            yield target
        finally:
            command("umount", str(target))()


def used_by(*words: str) -> tuple[float, float]:
    """Run a command that must succeed; return its user and system time in seconds, and its largest RSS in MB."""
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and of its children that have ended (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def debian_layout(scratch: Path) -> Path:
    """Make a Debian image of one gzip layer, about 250 MB and 8,000 files: what a language's image has."""
    from debian_image import _mirror, _release

    tree, layout = scratch / "debian", scratch / "debian-image"
    command("debootstrap", "--variant=minbase", "--include=python3,git,curl", _release(), str(tree), _mirror())()
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
        shutil.rmtree(tree / leftover)
    tar = scratch / "debian-layer.tar"
    command("tar", "-C", str(tree), "--numeric-owner", "-cf", str(tar), ".")()
    shutil.rmtree(tree)
    return one_layer(layout, tar)


def small_files_layout(scratch: Path) -> Path:
    """Make an image of 100,000 files of some hundred bytes in 1,000 directories."""
    import io
    import random
    import tarfile

    from images import directory, file

    words = random.Random(1)
    tar = scratch / "small-layer.tar"
    with tarfile.open(tar, "w") as out:
        for number in range(100_000):
            if number % 100 == 0:
                out.addfile(directory(f"data/{number // 100}"))
            info, data = file(f"data/{number // 100}/{number}.txt", words.randbytes(words.randrange(20, 600)))
            out.addfile(info, io.BytesIO(data))
    return one_layer(scratch / "small-image", tar)


def one_layer(layout: Path, tar: Path) -> Path:
    """Make an OCI layout, tag ``bench``, of one layer, compressed as docker build does."""
    from images import oci_layout

    # In a process of its own: what it needs of memory would count as that of every command started from here.
    if not os.fork():
        oci_layout(layout, [tar.read_bytes()], {"Cmd": ["true"]}, tag="bench", compression="gzip")
        os._exit(0)
    os.wait()
    tar.unlink()
    return layout


def start_containerd(directory: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Start a containerd of our own, and wait until it answers."""
    config = directory / "containerd.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    words = ("containerd", "--config", str(config), "--root", f"{directory}/containerd", "--state",
             f"{directory}/containerd-state", "--address", str(socket))  # fmt: skip
    with (directory / "containerd.log").open("wb") as log:
        daemon = subprocess.Popen(words, stderr=log)
    for _ in range(100):
        if not subprocess.run(
            ("ctr", "--address", str(socket), "version"), capture_output=True, check=False
        ).returncode:
            return daemon
        time.sleep(0.1)
    daemon.terminate()
    raise SystemExit(f"containerd does not answer: {(directory / 'containerd.log').read_text()}")


def monitors(mark: str) -> list[int]:
    """Return the pids of the conmons and shims that have this in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if os.path.basename(words.split("\0")[0]) in ("conmon", "containerd-shim-runc-v2") and mark in words:
            found.append(int(path.name))
    return found


def memory_kib(pid: int) -> tuple[int, int]:
    """Return the proportional and the private memory of a process (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def _expect_success(code: int) -> None:
    if code:
        raise SystemExit(f"exit {code}")


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="*", default=["run", "containerd", "library", "explain", "look", "import", "idle"]
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--containers", type=int, default=20, help="for idle")
    asked = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prun-bench-")))
        bench = Bench(scratch)
        stack.enter_context(bench.containerd())
        if "run" in asked.what or "library" in asked.what:
            bench.run(asked.rounds)
        if "containerd" in asked.what:
            bench.through_containerd(asked.rounds)
        if "library" in asked.what:
            bench.library(asked.rounds)
        if "look" in asked.what:
            bench.look(asked.rounds)
        if "explain" in asked.what:
            bench.explain(asked.rounds)
        if "idle" in asked.what:
            bench.idle(asked.containers)
        if "import" in asked.what:
            bench.unpack(max(3, asked.rounds // 6))


if __name__ == "__main__":
    main()
