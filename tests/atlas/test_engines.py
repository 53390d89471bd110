"""The same bytes from every engine, whatever dies on the way. Slow: processes that import torch."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ldam_widget as ldam
from ldam_widget.engines import EngineError, UnsendableError, in_processes, in_turn
from ldam_widget.engines.processes import visible

from .networks import QUICK, SHAPE, another_each_time, small
from .test_store import bytes_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed build."""
    out = tmp_path_factory.mktemp("whole") / "atlas"
    ldam.atlas(small(), out=out, engine="serial", **QUICK)
    return out


# ---- tasks in processes ----------------------------------------------------------------------------------------------


class Squares:
    """Squares numbers; dies at 13, the first time, and always at 666."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, number: int) -> int:
        died = self.folder / f"died at {number}"
        if number == 666 or (number == 13 and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise ValueError(f"{number} is negative")
        return number * number


def broken(common: Any) -> Any:
    raise LookupError(f"nothing at {common}")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_worker_that_dies_costs_its_task_and_one_that_dies_twice_is_told(tmp_path: Path) -> None:
    outcomes = {task: (result, lost) for task, result, lost in in_processes(Squares, str(tmp_path), [1, 13, 666, 4], 2)}
    assert [outcomes[task] for task in (1, 13, 4)] == [(1, ""), (169, ""), (16, "")]
    assert outcomes[666][0] is None
    assert "SIGKILL" in outcomes[666][1]


def test_errors_of_processes_arrive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="-3 is negative"):
        list(in_processes(Squares, str(tmp_path), [-3], 1))
    with pytest.raises(LookupError, match="nothing at home"):
        list(in_processes(broken, "home", [1], 1))
    with pytest.raises(UnsendableError):
        list(in_processes(Squares, lambda: 3, [1], 1))
    assert [outcome.result for outcome in in_turn(Squares, str(tmp_path), [2, 3])] == [4, 9]


def test_devices_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler lends devices 4 and 6, say: these are the first and the second that torch sees."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    assert [visible(device) for device in (0, 1)] == ["4", "6"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [visible(device) for device in (0, 1)] == ["0", "1"]


# ---- builds ----------------------------------------------------------------------------------------------------------


def test_processes_give_the_bytes_of_a_serial_build(whole: Path, tmp_path: Path) -> None:
    ldam.atlas(small, out=tmp_path / "function", workers=2, **QUICK)
    assert bytes_of(tmp_path / "function") == bytes_of(whole)


def test_threads_of_the_caller_do_not_matter(whole: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ldam.atlas(small(), out=tmp_path / "atlas", engine="serial", **QUICK)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert bytes_of(tmp_path / "atlas") == bytes_of(whole)


def test_a_model_that_cannot_be_sent_is_rendered_here(whole: Path, tmp_path: Path) -> None:
    network = small()
    with pytest.warns(ldam.LDAMWarning, match="cannot be sent"):
        ldam.atlas(lambda: network, out=tmp_path / "atlas", **QUICK)
    assert bytes_of(tmp_path / "atlas") == bytes_of(whole)


def test_a_function_that_makes_another_model_in_a_worker_is_found_out(tmp_path: Path) -> None:
    another_each_time.calls = 7  # type: ignore[attr-defined]  # the worker begins at 1
    with pytest.raises(ValueError, match="must make the same one each time"):
        ldam.atlas(another_each_time, "fc", out=tmp_path / "atlas", workers=1, **QUICK)


SCRIPT = """
import sys
import ldam_widget as ldam
from tests.atlas.networks import QUICK, small
ldam.atlas(small, out=sys.argv[1], workers=1, **QUICK)
"""
ROOT = Path(__file__).parents[2]


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "build.py"
    path.write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, str(path), str(tmp_path / "atlas")], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 1
    assert 'if __name__ == "__main__":' in run.stderr.splitlines()[-1]


class Builder:
    """A process that builds, with a group of its own."""

    def __init__(self, forks: subprocess.Popen[str], out: Path, engine: str) -> None:
        self._forks, self._errors = forks, out.with_name(f"{out.name} {time.monotonic_ns()}.txt")
        self.group = int(self._ask(f"start\t{out}\t{engine}\t{self._errors}"))

    def kill(self, number: int, *, alone: bool = False) -> None:
        """Send a signal to all processes, or to the first one."""
        (os.kill if alone else os.killpg)(self.group, number)

    def ended(self, wait: bool = False) -> int | None:
        """Exit code; None: it runs."""
        code = self._ask(f"{'wait' if wait else 'poll'}\t{self.group}")
        return None if code == "None" else int(code)

    def told(self) -> str:
        return self._errors.read_text()

    def _ask(self, what: str) -> str:
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        print(what, file=self._forks.stdin, flush=True)
        return self._forks.stdout.readline().strip()


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """Starts builders that need not import torch."""
    command = [sys.executable, str(Path(__file__).with_name("forks.py"))]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield process
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_at_ten_moments_it_ends_with_the_same_bytes(
    whole: Path, tmp_path: Path, forks: subprocess.Popen[str]
) -> None:
    out, moments = tmp_path / "atlas", random.Random(5)
    for i in range(10):
        builder = Builder(forks, out, "processes" if i in (0, 6) else "serial")
        end = time.monotonic() + 60
        while i and not list(out.glob("*")) and builder.ended() is None and time.monotonic() < end:
            time.sleep(0.05)  # the first one is killed while it starts
        time.sleep(moments.uniform(0, 1.5))
        builder.kill(signal.SIGKILL, alone=i == 6)  # its processes end with it
        builder.ended(wait=True)
        require_end(builder.group)
        if (out / "atlas.json").exists():
            assert not ldam.Atlas(out).status(verify=True).problems
    ldam.atlas(small(), out=out, engine="serial", **QUICK)
    assert bytes_of(out) == bytes_of(whole)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_two_builders_on_one_folder_do_no_harm(whole: Path, tmp_path: Path, forks: subprocess.Popen[str]) -> None:
    out = tmp_path / "atlas"
    builders = [Builder(forks, out, "serial") for _ in range(2)]
    for builder in builders:
        assert builder.ended(wait=True) == 0, builder.told()
    assert bytes_of(out) == bytes_of(whole)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_a_valid_atlas_and_no_process(tmp_path: Path, forks: subprocess.Popen[str]) -> None:
    out = tmp_path / "atlas"
    builder = Builder(forks, out, "processes")
    while not out.exists() and builder.ended() is None:
        time.sleep(0.05)
    time.sleep(1.0)
    builder.kill(signal.SIGINT)  # as in a terminal: to all of them
    assert builder.ended(wait=True) != 0 or ldam.Atlas(out).status().complete, builder.told()
    assert not ldam.Atlas(out).status(verify=True).problems
    require_end(builder.group)


def alive_in(group: int) -> list[str]:
    """Processes of a group; not those that have ended and nobody has asked after."""
    found = subprocess.run(["ps", "-eo", "pgid=,stat=,pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in found.splitlines()]
    return [" ".join(row[2:]) for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


def require_end(group: int) -> None:
    end = time.monotonic() + 120  # those that are still starting notice only then
    while (left := alive_in(group)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


# ---- Dask ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dask() -> Iterator[Any]:
    """`dask.distributed`, patient on a busy machine."""
    distributed = pytest.importorskip("distributed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "120s"}):
        yield distributed


class Sleeper:
    """Has always something to do."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __call__(self, number: int) -> None:
        (self.folder / "asleep").touch()
        time.sleep(600)


def test_dask_with_a_worker_that_is_killed_and_a_scheduler_that_is_lost(whole: Path, tmp_path: Path, dask: Any) -> None:
    from ldam_widget.engines.cluster import on_cluster

    settings = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    out, again = tmp_path / "atlas", tmp_path / "begun again"
    cluster = dask.LocalCluster(n_workers=2, processes=True, **settings)
    client = dask.Client(cluster, timeout=5)
    try:
        victim = next(iter(client.run(os.getpid).values()))
        killed = when_there_is(out / "conv1", lambda: os.kill(victim, signal.SIGKILL))
        ldam.atlas(small, out=out, engine=client, **QUICK)
        assert killed.wait(60)
        assert bytes_of(out) == bytes_of(whole)

        ldam.atlas(small, out=again, engine=client, part=(0, 2), **QUICK)
        lost = when_there_is(tmp_path / "asleep", cluster.close)
        with pytest.raises(EngineError, match="the same call goes on"):
            list(on_cluster(Sleeper, str(tmp_path), [1, 2, 3], client))
        with pytest.raises(EngineError, match="the same call goes on"):
            ldam.atlas(small, out=again, engine=client, **QUICK)
        assert lost.wait(120)
    finally:
        client.close()
        cluster.close()
    status = ldam.Atlas(again).status(verify=True)
    assert not status.problems
    assert not status.complete
    with dask.LocalCluster(n_workers=1, processes=False, **settings) as second, dask.Client(second) as client:
        ldam.atlas(small(), out=again, engine=client, **QUICK)
    assert bytes_of(again) == bytes_of(whole)


def when_there_is(path: Path, deed: Callable[[], object]) -> threading.Event:
    """Do something as soon as a file is there, in the background; set when it is done."""
    done = threading.Event()

    def watch() -> None:
        end = time.monotonic() + 300
        while not path.exists():
            if time.monotonic() > end:
                return
            time.sleep(0.005)
        deed()
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    return done


def test_errors_of_dask_are_not_taken_for_a_lost_connection(tmp_path: Path, dask: Any) -> None:
    from ldam_widget.engines.cluster import on_cluster

    settings = {"processes": False, "threads_per_worker": 1, "n_workers": 1, "dashboard_address": None}
    with dask.LocalCluster(local_directory=str(tmp_path), **settings) as cluster, dask.Client(cluster) as client:
        assert sorted(each.result for each in on_cluster(Squares, str(tmp_path), [2, 3], client)) == [4, 9]
        with pytest.raises(ValueError, match="-3 is negative"):
            list(on_cluster(Squares, str(tmp_path), [-3], client))
        with pytest.raises(FileNotFoundError, match="no folder at home"):  # an OSError, as those of connections
            list(on_cluster(unseen, "home", [1], client))
    with pytest.raises(EngineError, match="connect another one"):
        list(on_cluster(Squares, str(tmp_path), [2], client))


def unseen(common: Any) -> Any:
    raise FileNotFoundError(f"no folder at {common}")


# ---- command line ----------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ldam_widget.cli import app

    run = CliRunner().invoke
    model = "tests.atlas.networks:small"
    shape = ",".join(map(str, SHAPE))
    given = ["--input-shape", shape, "--pixel-range", "0,1", "--steps", "8", "--warm-up", "4", "--chains", "2"]
    out = ["--out", str(tmp_path / "atlas"), "--workers", "0"]
    first = run(app, ["atlas", "build", model, *given, *out, "--blocks", "0::2"])
    assert first.exit_code == 0, first.output
    assert "about" in first.output or "rendered" in first.output
    told = run(app, ["atlas", "status", str(tmp_path / "atlas")])
    assert "conv2" in told.output
    assert "complete" not in told.output
    last = run(app, ["atlas", "build", model, *given, *out])
    assert "81 of 81 units rendered" in last.output
    assert "complete" in last.output
    digits = ["atlas", "build", "mnist", "--layers", "fc3", "--steps", "2", "--warm-up", "4", "--workers", "0"]
    assert run(app, [*digits, "--out", str(tmp_path / "digits")]).exit_code == 0
    assert ldam.demo.mnist().prior.fingerprint in ldam.Atlas(tmp_path / "digits").recipe["prior"], "of its images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldam_widget.network.memory.budget", lambda device: 1000.0)
        short = ["atlas", "build", model, *given, "--out", str(tmp_path / "short"), "--workers", "0"]
        with pytest.warns(ldam.LDAMWarning, match="2 blocks failed"):
            failed = run(app, [*short, "--layers", "conv1,fc"])
        assert failed.exit_code == 2
        assert "error: 2 of the blocks could not be rendered" in failed.output
    for arguments, words in (
        (["status", str(tmp_path)], "there is no atlas"),
        (["build", model, *given, *out, "--blocks", "4"], "write i::n"),
        (["build", model, *given, *out, "--seed", "1"], "seed 0 instead of 1"),
        (["build", model, *given, *out, "--images", "."], "--images belongs to --survey"),
    ):
        refused = run(app, ["atlas", *arguments])
        assert refused.exit_code == 2
        assert words in refused.output
