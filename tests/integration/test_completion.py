"""Completion in real shells: what is typed, a tab, and the words that the command then gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pexpect
import pytest
from command import PRUN, Prun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = "READY>"
# In place of prun: it completes as prun does, and prints the words that it would run with.
POSIX = """
prun() { if [ "$1" = __complete ]; then PRUN "$@"; else printf '<%s>' "$@"; echo; fi; }
"""
BASH = f"""
bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; bind 'set page-completions off'
{POSIX}
source <(PRUN completion bash)
PS1='{PROMPT}'
"""
ZSH = f"""
unset zle_bracketed_paste; setopt no_beep no_prompt_sp no_auto_remove_slash; autoload -U compinit; compinit -u -D
{POSIX}
source <(PRUN completion zsh)
PROMPT='{PROMPT}'
"""
FISH = f"""
function prun
    if test "$argv[1]" = __complete; PRUN $argv; else; printf '<%s>' $argv; echo; end
end
PRUN completion fish | source
function fish_prompt; echo -n '{PROMPT}'; end
function fish_greeting; end
"""
SHELLS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], BASH),
    "zsh": (["zsh", "-f", "-i"], ZSH),
    "fish": (["fish", "--no-config", "-i"], FISH),
}


class Shell:
    """An interactive shell with completion."""

    def __init__(self, name: str, prun: Prun, directory: Path) -> None:
        command, setup = SHELLS[name]
        (directory / "setup").write_text(setup.replace("PRUN", PRUN))
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(directory), "TERM": "xterm", "PRUN_ROOT": str(prun.root),
            "PRUN_STATE": str(prun.state), "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self._child = pexpect.spawn(
            command[0],
            command[1:],
            env=environment,
            cwd=str(directory),
            dimensions=(50, 200),
            encoding="utf-8",
            timeout=20,
        )
        self._child.sendline("source ./setup")
        self._child.expect_exact(PROMPT)
        self.words("prun start")

    def type(self, text: str) -> None:
        self._child.send(text)

    def words(self, line: str) -> list[str]:
        """Type a line, tabs in it and all, and return the words that the command was given."""
        self._child.send(f"{line}\r")
        self._child.expect(r"(<[^\r\n]*>)\r\n")
        return self._child.match[1].strip("<>").split("><")

    def close(self) -> None:
        self._child.close(force=True)


@pytest.fixture(scope="module")
def filled(store: Prun) -> Prun:
    assert store("volume", "create", "data").returncode == 0
    assert store("secret", "create", "token", "-", stdin=b"x").returncode == 0
    for name in ("web", "worker"):
        assert store("run", "--name", name, "busybox", "true").returncode == 0
    return store


@pytest.fixture(scope="module", params=list(SHELLS))
def shell(request: pytest.FixtureRequest, filled: Prun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    directory = tmp_path_factory.mktemp("completion")
    (directory / "archive.tar").write_bytes(b"")
    (directory / "tree").mkdir()
    (directory / "tree.txt").write_bytes(b"")
    found = Shell(request.param, filled, directory)
    yield found
    found.close()


def test_a_tab_executes_nothing_of_the_line(shell: Shell, tmp_path: Path) -> None:
    """What the line would do is for its Enter: here it is wiped out before."""
    shell.type(f"prun rm $(touch {tmp_path}/made) `touch {tmp_path}/made` we\t\x05\x15")
    assert shell.words("prun version") == ["version"]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prun vers\t", ["version"]),
        ("prun vol\tins\tdat\t", ["volume", "inspect", "data"]),
        ("prun rm we\twor\t", ["rm", "web", "worker"]),
        ("prun rm --fo\twe\t", ["rm", "--force", "web"]),
        ("prun inspect busyb\t", ["inspect", "busybox:latest"]),
        ("prun rmi busybox:la\t", ["rmi", "busybox:latest"]),
        ("prun secret rm to\t", ["secret", "rm", "token"]),
        ("prun save busyb\t", ["save", "busybox:latest"]),
        ("prun image rm busyb\t", ["image", "rm", "busybox:latest"]),
        ("prun load -i arc\t", ["load", "-i", "archive.tar"]),
        ("prun --debu\tsecr\t", ["--debug", "secret"]),
        ("prun run --rm busyb\t", ["run", "--rm", "busybox:latest"]),
        ("prun run -it --netw\tno\tbusyb\t", ["run", "-it", "--network", "none", "busybox:latest"]),
        ("prun run --runtime=fa\t", ["run", "--runtime=fake"]),
        ("prun run --pull ne\t", ["run", "--pull", "never"]),
        ("prun run -v dat\t/x", ["run", "-v", "data:/x"]),
        ("prun run --volumes-from wo\t", ["run", "--volumes-from", "worker"]),
        ("prun run --cap-add=NET_ADM\t", ["run", "--cap-add=NET_ADMIN"]),
        ("prun run --ulimit nof\t5", ["run", "--ulimit", "nofile=5"]),
        ("prun run --env-file arc\t", ["run", "--env-file", "archive.tar"]),
        ("prun load arc\t", ["load", "archive.tar"]),
        ("prun load ./arc\t", ["load", "./archive.tar"]),
        ("prun run --rootfs tre\t", ["run", "--rootfs", "tree/"]),
        ("prun volume ls --filter dan\ttrue", ["volume", "ls", "--filter", "dangling=true"]),
        ("prun spec busyb\t", ["spec", "busybox:latest"]),
        # The container's own words, and what does not exist, stay as they are.
        ("prun run busybox arc\t", ["run", "busybox", "arc"]),
        ("prun nonsense we\t", ["nonsense", "we"]),
        ("prun rm 'we\t", ["rm", "web"]),
    ],
)
def test_a_tab_completes_the_word(shell: Shell, line: str, words: list[str]) -> None:
    assert shell.words(line) == words
