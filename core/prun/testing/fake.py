"""A Runner on the fake runtime, which no setting and no plugin of this machine touches."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from prun import discovery
from prun.api import Runner
from prun.config import Settings
from prun.plugins import ENGINES, RUNTIMES
from prun.testing.hooks import hooks_with

if TYPE_CHECKING:
    from prun.api import Result
    from prun.plugins import Hooks
    from prun.types import RunRequest

PROGRAM = "from prun.cli import main; main()"


class FakeRunner(Runner):
    """Runs containers of the fake runtime with a store below ``directory`` and the plugins that a test gives it.

    ``plugins`` are modules or objects, each more specific than the one before; nothing that is installed is loaded.
    """

    def __init__(self, directory: str, *plugins: object, engine: str = "embedded") -> None:
        self.directory = directory
        self._objects = plugins
        root, state = (os.path.join(directory, name) for name in ("root", "state"))
        super().__init__(runtime="fake", engine=engine, plugins=(), root=root, state=state)
        self.settings = Settings()

    def with_plugins(self, *plugins: object) -> FakeRunner:
        """Return a Runner on the same store with these plugins."""
        return type(self)(self.directory, *plugins)

    @property
    def hooks(self) -> Hooks:
        """The fake runtime, the engine and the plugins of the test."""
        if self._hooks is None:
            fake, engine = self._installed(RUNTIMES, self.runtime), self._installed(ENGINES, self.engine)
            self._hooks = hooks_with(fake, *self._objects, engine=engine)
        return self._hooks

    def replay(self, recording: str | os.PathLike[str], *, pace: float = 0) -> Result:
        """Do a real run again that the plugin ``recorder`` has recorded, with the plugins of the test.

        They see the request, the image, the spec and the events of that run; it writes what that run wrote, fails as
        that did, and ends with its exit code.  ``pace`` 1 takes the time that it took, 0 none.

        Raises:
            PrunError: what the recorded run failed with, or what a plugin refuses now.
        """
        engine = self._installed(ENGINES, "replay")
        request: RunRequest = engine.request_of(os.fspath(recording), root=self.root, state=self.state, pace=pace)
        return type(self)(self.directory, *self._objects, engine="replay").execute(request)

    def _installed(self, group: str, name: str) -> Any:
        return discovery.load(discovery.entry_points(group)[name])

    def command(self, *words: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``prun WORDS`` in a process of its own, on the fake runtime and the same store.

        Plugins that are installed are loaded when they are named: ``command("--plugins", "mine", "run", ...)``.

        Raises:
            AssertionError: the exit code is not ``code``; the message is what it wrote to stderr.
        """
        __tracebackhide__ = True
        env = {name: value for name, value in os.environ.items() if not name.startswith("PRUN_")}
        env |= {"PRUN_RUNTIME": "fake", "PRUN_PLUGINS": "none", "PRUN_ROOT": self.root, "PRUN_STATE": self.state}
        env |= {"XDG_CONFIG_HOME": os.path.join(self.directory, "config")}
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words],
            input=stdin,
            env=env,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )
        if result.returncode != code:
            raise AssertionError(f"prun {' '.join(words)}: exit code {result.returncode}, not {code}\n{result.stderr}")
        return result
