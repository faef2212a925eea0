"""The tests in ``guest/`` are collected here and run in guests side by side: see ``machine.py``.

They are selected, named and reported as any others: the guest's pytest writes its reports into a file, and this one
reads them as its own.  A test without a report has failed, and says what the guest said.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    # The reports of each test, and what the guest said.
    Answer = tuple[dict[str, list[pytest.TestReport]], str]

GUEST_TESTS = Path(__file__).parent / "guest"
REPORTS = "PRUN_TESTS_REPORTS"  # set in the guest: the file that its reports go to
TIMEOUT_S = 600


def pytest_configure(config: pytest.Config) -> None:
    inside = os.environ.get(REPORTS)
    config.pluginmanager.register(Guest(config, Path(inside)) if inside else Host(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.root)
        if _is_of_guest(item) and REPORTS not in os.environ:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S + 60))  # the first one waits for all of them


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class Guest:
    """Writes every report down, for the host."""

    def __init__(self, config: pytest.Config, reports: Path) -> None:
        self._config, self._reports = config, reports

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(self._reports, "a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


class Host:
    """Boots the guests for the first of their tests, and reports each test as its guest did."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._answers = cache(self._start)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not _is_of_guest(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        answer, said = self._answers(item.session)[_guest_of(item)].result()
        reports = answer.get(item.nodeid, [])
        if not any(report.when == "teardown" for report in reports):
            text = f"the guest did not come to the end of this test: {said}"
            reports.append(pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call"))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _start(self, session: pytest.Session) -> dict[str, Future[Answer]]:
        """Run all that were selected, in guests side by side: each keeps one processor busy."""
        factory: pytest.TempPathFactory = self._config._tmp_path_factory  # type: ignore[attr-defined]
        tests: dict[str, list[str]] = {}
        for item in filter(_is_of_guest, session.items):
            tests.setdefault(_guest_of(item), []).append(item.nodeid)
        with ThreadPoolExecutor() as pool:
            return {
                name: pool.submit(self._run, factory.mktemp("exchange"), selected) for name, selected in tests.items()
            }

    def _run(self, exchange: Path, tests: list[str]) -> Answer:
        words = ["env", f"{REPORTS}=/run/exchange/reports", sys.executable, "-m", "pytest",
                 "-p", "no:cacheprovider", "--basetemp=/run/tmp/pytest", "-o", "timeout=120", *tests]  # fmt: skip
        try:
            said = Machine(exchange).run(words, TIMEOUT_S, self._config.rootpath).output
        except (RuntimeError, OSError) as error:
            said = str(error)
        reports: dict[str, list[pytest.TestReport]] = {}
        load: Callable[..., pytest.TestReport] = self._config.hook.pytest_report_from_serializable
        written = exchange / "reports"
        for line in written.read_text(encoding="utf-8").splitlines() if written.exists() else ():
            report = load(config=self._config, data=json.loads(line))
            reports.setdefault(report.nodeid, []).append(report)
        return reports, said


def _guest_of(item: pytest.Item) -> str:
    """Return which guest a test goes to: one for each OCI runtime, one for the ordinary user, made in half a minute."""
    assert isinstance(item, pytest.Function)
    if "user" in item.fixturenames:
        return "user"
    return str(item.callspec.params.get("binary", "crun")) if hasattr(item, "callspec") else "crun"


def _is_of_guest(item: pytest.Item) -> bool:
    return GUEST_TESTS in item.path.parents
