"""Many widgets, no page at all, copies, forks, and the end of the process."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ldam_widget import compare
from ldam_widget.widget.parts import verdicts

from ..conftest import with_fixed_weights
from ..widget.conftest import loop_threads, wait_until
from .harness import Bench, Net, Switch

Make = Callable[..., Bench]


# ---- in one process --------------------------------------------------------------------------------------------------


def test_ten_widgets(set_up: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes on whatever happens to the others, and each has one thread."""
    monkeypatch.setattr(verdicts, "PERIOD", 1e9)
    before = len(loop_threads())
    benches = [set_up() for _ in range(10)]
    for bench in benches:
        bench.play()
    assert len(loop_threads()) == before + 10
    benches[3].switch.fail(RuntimeError("the fourth"))
    benches[3].stops("the fourth")
    benches[7].w.close()
    others = benches[:3] + benches[4:7] + benches[8:]
    for bench in others:
        bench.play()
    benches[3].switch.repair()
    benches[3].goes_on()
    for bench in others:
        bench.w.close()
    wait_until(lambda: len(loop_threads()) == before + 1)


def test_thirty_widgets_one_after_another(set_up: Make) -> None:
    bench = set_up()
    before = threading.active_count()
    for _ in range(30):
        w = Bench.widget(bench.model)
        w.step(1)
        w.close()
    wait_until(lambda: threading.active_count() <= before)
    bench.play()


COPIES: dict[str, Callable[[object], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "in a list": lambda w: copy.deepcopy([w]),
    "pickle": pickle.dumps,
    "old pickle": lambda w: pickle.dumps(w, 0),
}


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES.keys())
def test_a_widget_cannot_be_copied(set_up: Make, how: Callable[[object], object]) -> None:
    bench = set_up()
    bench.play()
    with pytest.raises(TypeError, match=r"LDAM.* cannot be copied or pickled.*settings and the model"):
        how(bench.w)
    bench.play()


def test_a_comparison_cannot_be_copied() -> None:
    models = {name: with_fixed_weights(lambda: Net(Switch())) for name in "ab"}
    c = compare(models, input_shape=(1, 8, 8), play=False)
    with pytest.raises(TypeError, match=r"Compare.* cannot be copied"):
        copy.deepcopy(c)
    c.close()


# ---- a process of its own --------------------------------------------------------------------------------------------

# What the first verdict imports is imported here: CPython forgets that an interrupt ended the process, and exits with 1
# instead of by a signal, if another thread makes a dataclass between the two.
BEGIN = """
import os, sys, time, threading
import torch
from torch import nn
from arviz_stats.base import array_stats
import ldam_widget as ldam

def make(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 5))
    return ldam.LDAM(model, input_shape=(1, 8, 8), play=False, **options)

def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)

def runs(w):
    w.play()  # out of a rest: no page is visible
    before = w.sampler.steps
    until(lambda: w.sampler.steps > before + 20)
"""


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"  # a file, as `spawn` imports it
    path.write_text(BEGIN + textwrap.dedent(text))
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONFAULTHANDLER": "1"}
    return subprocess.run([sys.executable, path], env=quiet, cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_script_without_a_page(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        w = make()
        runs(w)
        w.set(l2=0.5, temperature=2)
        w.neurons = [3, 1]
        w.step(5)
        assert tuple(w.sampler.images.shape) == (2, 1, 1, 8, 8)
        assert w.snapshot().size[0] > 100
        w.pause()
        w.save("x.png")
        w.record(0.2, "x.gif")
        assert w.error is None
        w.close()
        assert [t.name for t in threading.enumerate()] == ["MainThread"]
        print("done")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert {path.name for path in tmp_path.iterdir()} == {"script.py", "x.png", "x.gif"}


ENDS = {
    "the end": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "an interrupt in a step": ("import signal; signal.alarm(1); w.step(10**9)", -2, "KeyboardInterrupt"),
    "an error": ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    "a long forward pass": ("slow.set(); inside.wait(30)", 0, ""),
}


@pytest.mark.parametrize(("how", "code", "last"), ENDS.values(), ids=ENDS.keys())
def test_a_process_that_ends_while_it_plays(tmp_path: Path, how: str, code: int, last: str) -> None:
    """Nothing hangs, and nothing is printed but what the script itself prints."""
    done = script(
        tmp_path,
        f"""
        import signal
        def interrupt(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        slow, inside = threading.Event(), threading.Event()
        def preprocess(x):
            if slow.is_set():
                inside.set()
                time.sleep(3)
            return x
        w, other = make(), make(preprocess=preprocess)
        runs(w)
        runs(other)
        {how}
        """,
    )
    assert done.returncode == code
    assert done.stderr.strip().endswith(last)
    assert done.stderr.count("Traceback") == (1 if last else 0), done.stderr
    assert "Fatal" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forks_while_it_plays(tmp_path: Path) -> None:
    """A fork has none of our threads: it samples by itself, or with the widget, and ends; its parent goes on."""
    done = script(
        tmp_path,
        """
        import faulthandler, traceback, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

        def sample():
            s = ldam.Sampler(net, input_shape=(1, 8, 8), device="cpu")
            assert s.step(10).steps == 10

        def use_the_widget():
            before = w.sampler.steps
            w.step(5)
            assert w.sampler.steps >= before + 5
            w.close()

        def nothing():
            pass

        w = make()
        runs(w)
        for use, end in ((sample, sys.exit), (use_the_widget, os._exit), (nothing, sys.exit)):
            child = os.fork()
            if not child:
                faulthandler.dump_traceback_later(60, exit=True)
                try:
                    use()
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                end(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, use
            runs(w)
        assert w.error is None
        w.close()
        print("done")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """The step goes on in the parent alone; the child's sampler does not wait for it."""
    done = script(
        tmp_path,
        """
        import faulthandler, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        parent, slow, inside = os.getpid(), threading.Event(), threading.Event()

        def preprocess(x):
            if slow.is_set() and os.getpid() == parent:
                inside.set()
                time.sleep(0.2)
            return x

        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        s = ldam.Sampler(net, input_shape=(1, 8, 8), device="cpu", preprocess=preprocess)
        s.step(1)
        slow.set()
        thread = threading.Thread(target=lambda: s.step(1))
        thread.start()
        assert inside.wait(30)
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(30, exit=True)
            s.set(step_size=0.02)
            s.step(3)
            s.restart()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        thread.join()
        assert s.step(1).steps == 3
        print("done")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_workers_of_multiprocessing_while_it_plays(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        def work(seed):
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
            return ldam.Sampler(net, input_shape=(1, 8, 8), device="cpu", seed=seed).step(4).steps

        if __name__ == "__main__":
            w = make()
            runs(w)
            for method in ("fork", "spawn"):
                if method in multiprocessing.get_all_start_methods():
                    with multiprocessing.get_context(method).Pool(1) as pool:
                        assert pool.map(work, range(3)) == [4, 4, 4]
                    runs(w)
            assert w.error is None
            print("done")
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
