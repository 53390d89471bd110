"""The same bytes from every engine, whatever dies on the way. Slow: processes that import torch."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import ldam_widget as ldam
from ldam_widget.engines import EngineError, UnsendableError, in_processes, in_turn

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
{guard}    ldam.atlas(small, out=sys.argv[1], engine=sys.argv[2], workers=2, **QUICK)
"""


def started(script: Path, out: Path, engine: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, str(script), str(out), engine], env=environment, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "build.py"
    path.write_text(SCRIPT.format(guard='if __name__ == "__main__":\n'))
    return path


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "build.py"
    path.write_text(SCRIPT.format(guard="if True:\n"))
    run = started(path, tmp_path / "atlas", "processes")
    _, told = run.communicate(timeout=250)
    assert run.returncode == 1
    assert 'if __name__ == "__main__":' in told.splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_at_ten_moments_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path, script: Path) -> None:
    out, moments = tmp_path / "atlas", random.Random(5)
    for i in range(10):
        run = started(script, out, "processes" if i in (0, 2, 6) else "serial")
        began = time.monotonic()
        while time.monotonic() < began + 60 and run.poll() is None:
            if i < 2 or list(out.glob("*")):  # the first two while they start
                time.sleep(moments.uniform(0, 1.5))
                break
            time.sleep(0.05)
        if i % 4 == 2:  # its processes end with it
            os.kill(run.pid, signal.SIGKILL)
        else:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        require_end(run.pid)
        assert run.stderr is not None
        run.stderr.close()
        if (out / "atlas.json").exists():
            assert not ldam.Atlas(out).status(verify=True).problems
    ldam.atlas(small(), out=out, engine="serial", **QUICK)
    assert bytes_of(out) == bytes_of(whole)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_two_builders_on_one_folder_do_no_harm(whole: Path, tmp_path: Path, script: Path) -> None:
    out = tmp_path / "atlas"
    runs = [started(script, out, engine) for engine in ("serial", "serial")]
    for run in runs:
        _, told = run.communicate(timeout=200)
        assert run.returncode == 0, told
    assert bytes_of(out) == bytes_of(whole)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_a_valid_atlas_and_no_process(tmp_path: Path, script: Path) -> None:
    out = tmp_path / "atlas"
    run = started(script, out, "processes")
    while not out.exists():
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(run.pid, signal.SIGINT)  # as in a terminal: to all of them
    _, told = run.communicate(timeout=200)
    assert run.returncode != 0 or ldam.Atlas(out).status().complete, told
    assert not ldam.Atlas(out).status(verify=True).problems
    require_end(run.pid)


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


def test_dask_with_a_worker_that_is_killed_and_a_scheduler_that_is_lost(whole: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "atlas"
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        death = threading.Thread(target=kill_when_there_is, args=(victim, out / "conv1"))
        death.start()
        ldam.atlas(small, out=out, engine=client, **QUICK)
        death.join()
        assert victim not in client.run(os.getpid).values()
    assert bytes_of(out) == bytes_of(whole)

    out = tmp_path / "begun again"
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
    )
    client = distributed.Client(cluster)
    ldam.atlas(small, out=out, engine=client, part=(0, 2), **QUICK)
    cluster.close()
    with pytest.raises(EngineError, match="the same call goes on"):
        ldam.atlas(small, out=out, engine=client, **QUICK)
    client.close()
    assert not ldam.Atlas(out).status(verify=True).problems
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        ldam.atlas(small(), out=out, engine=client, **QUICK)
    assert bytes_of(out) == bytes_of(whole)


def kill_when_there_is(process: int, path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)


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
    for arguments, words in (
        (["status", str(tmp_path)], "there is no atlas"),
        (["build", model, *given, *out, "--blocks", "4"], "write i::n"),
        (["build", model, *given, *out, "--seed", "1"], "seed 0 instead of 1"),
        (["build", model, *given, *out, "--images", "."], "--images belongs to --survey"),
    ):
        refused = run(app, ["atlas", *arguments])
        assert refused.exit_code == 2
        assert words in refused.output
