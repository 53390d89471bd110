"""Files made to run code, or to fill the memory, or to hang or crash whoever reads them: none does."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ldam_widget import load_checkpoint

from . import fuzz
from .canary import nothing_runs
from .hostile import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    NUMBERS,
    PROTO,
    REDUCE,
    STOP,
    call,
    named,
    old,
    plain,
    storage,
    table,
    tensor,
    tuple_of,
    weights,
    zipped,
)  # fmt: skip


def linear() -> nn.Module:
    return nn.Linear(2, 2, bias=False)


def attempt(path: Path) -> str:
    """Load a file: what is said against it, or "" if its weights were read as they are."""
    with nothing_runs(path):
        try:
            model = load_checkpoint(linear, path)
        except ValueError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert len(message) < 1500
            return message
    assert torch.equal(model.state_dict()["weight"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    return ""


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported at the first call."""
    path = tmp_path_factory.mktemp("first") / "w.pt"
    load_checkpoint(linear, zipped(weights(), path))
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(linear, zipped(b"0", path))


# ---- asking for code: refused by name, in both formats and as a bare pickle ------------------------------------------

ATTACKS = {
    "os.system": call("os.system", plain("touch trace")),
    "posix.system": call("posix.system", plain("touch trace")),
    "builtins.eval": call("builtins.eval", plain("open('trace', 'w')")),
    "builtins.exec": call("builtins.exec", plain("open('trace', 'w')")),
    "__builtin__.eval": call("__builtin__.eval", plain("1")),
    "builtins.__import__": call("builtins.__import__", plain("antigravity")),
    "builtins.open": call("builtins.open", plain("trace"), plain("w")),
    "subprocess.Popen": call("subprocess.Popen", plain(["touch", "trace"])),
    "runpy.run_path": call("runpy.run_path", plain("trace.py")),
    "importlib.import_module": call("importlib.import_module", plain("antigravity")),
    "socket.create_connection": call("socket.create_connection", plain(("127.0.0.1", 9))),
    "shutil.rmtree": call("shutil.rmtree", plain("/tmp/nothing")),
    "ctypes.CDLL": call("ctypes.CDLL", plain("libc.so.6")),
    "pickle.loads": call("pickle.loads", plain("cos\nsystem\n(S'true'\ntR.")),
    "sys.exit": call("sys.exit", plain(3)),
    "nt.system (INST)": MARK + plain("touch trace") + b"int\nsystem\n",
    "os.system (OBJ)": MARK + named("os.system") + plain("touch trace") + b"o",
    "os.system (NEWOBJ)": named("os.system") + tuple_of(plain("touch trace")) + b"\x81",
    "os.system (NEWOBJ_EX)": named("os.system") + EMPTY_TUPLE + EMPTY_DICT + b"\x92",
    "os.system (STACK_GLOBAL)": plain("os") + plain("system") + b"\x93" + tuple_of(plain("true")) + REDUCE,
    "os.popen (map)": call("builtins.list", call("builtins.map", named("os.popen"), plain(["touch trace"]))),
}


@pytest.mark.parametrize("beside", [True, False], ids=["beside the weights", "alone"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_files_that_ask_for_code_are_refused(tmp_path: Path, attack: str, beside: bool) -> None:
    instructions = weights(extra=ATTACKS[attack]) if beside else ATTACKS[attack]
    bare = tmp_path / "bare.pt"
    bare.write_bytes(PROTO + instructions + STOP)
    asked = re.escape(attack.split(" ")[0])
    for path in (zipped(instructions, tmp_path / "new.pt"), old(instructions, tmp_path / "old.pt"), bare):
        message = attempt(path)
        assert re.search(rf"refused: it is a pickle that asks for {asked}.*None of it was run.*state_dict", message)
    assert not (tmp_path / "trace").exists()
    assert not Path("trace").exists()


# ---- code that no list of names knows: it stays inert, and the weights beside it are read ----------------------------

INERT = {
    "getattr of a class": call("builtins.getattr", named("my.Class"), plain("__subclasses__")),
    "a call of what a call gives": call("my.factory") + EMPTY_TUPLE + REDUCE,
    "a class with a state": named("my.Class") + EMPTY_TUPLE + b"\x81" + plain({"__class__": 1}) + BUILD,
    "a state that would set an attribute of a tensor": tensor() + plain({"__class__": "x", "data": 3}) + BUILD,
    "slots": named("my.Class") + EMPTY_TUPLE + b"\x81" + plain(({"a": 1}, {"__dict__": 2})) + BUILD,
    "a state for a name": named("my.Class") + plain({"__setstate__": 1}) + BUILD,
    "items of an unknown dict": named("my.Dict") + EMPTY_TUPLE + b"\x81" + MARK + plain("a") + plain(1) + b"u",
    "appending to an unknown list": named("my.List") + EMPTY_TUPLE + b"\x81" + MARK + plain(1) + b"e",
    "a registered extension": b"\x82\x07" + EMPTY_TUPLE + REDUCE,
    "an unknown persistent id": plain(("module", "evil", "source")) + b"Q",
    "a text as persistent id": b"Pevil\n",
    "copyreg": call("copyreg._reconstructor", named("my.Class"), named("builtins.object"), plain(None)),
    "copyreg.add_extension": call("copyreg.add_extension", plain("os"), plain("system"), plain(7)),
    "types.FunctionType": call("types.FunctionType", call("types.CodeType", plain(0)), plain({})),
    "torch.load": call("torch.load", plain("other.pt")),
    "torch.hub.load": call("torch.hub.load", plain("a/b"), plain("c")),
    "numpy.load": call("numpy.load", plain("other.npy"), plain(None), plain(True)),
    "functools.partial": call("functools.partial", named("my.function")) + plain((1, 2, {}, None)) + BUILD,
    "operator.attrgetter": call("operator.attrgetter", plain("__globals__")) + EMPTY_TUPLE + REDUCE,
    "bytearray of a terabyte": call("builtins.bytearray", plain(2**40)),
    "range": call("builtins.list", call("builtins.range", plain(2**62))),
    "a storage of an unknown class": storage("7", "my.Storage", 4),
    "a name with a newline": call("my.\\x0aos.system"),
}  # fmt: skip


@pytest.mark.parametrize("what", INERT)
def test_unknown_objects_are_inert(tmp_path: Path, what: str) -> None:
    instructions = weights(extra=INERT[what])
    nested = table(state_dict=weights(), hyper_parameters=INERT[what])
    bare = tmp_path / "bare.pt"
    bare.write_bytes(PROTO + instructions + STOP)
    for path in (zipped(nested, tmp_path / "new.pt"), old(nested, tmp_path / "old.pt")):
        assert attempt(path) == ""
    assert re.search(r"1 unexpected in the file: extra|no dict of tensors", attempt(bare))


@pytest.mark.parametrize("what", INERT)
def test_weights_that_unknown_code_would_make(tmp_path: Path, what: str) -> None:
    message = attempt(zipped(table(weight=INERT[what], other=tensor()), tmp_path / "w.pt"))
    assert message == "" or re.search(
        r"has no weight that fits Linear.*in the file|unexpected in the file: other", message
    )


def test_a_stub_never_reaches_the_users_code(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def set_extra_state(self, state: object) -> None:
            raise AssertionError(state)

        def get_extra_state(self) -> int:
            return 0

    path = zipped(weights(_extra_state=call("my.factory")), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"_extra_state a my\.factory object, which only its own code could read"):
        load_checkpoint(lambda: Extra(2, 2, bias=False), path)


# ---- tensors that are not what they say ------------------------------------------------------------------------------

TENSORS = {
    "beyond the storage": (tensor((3, 2)), "in a storage of 4 numbers"),
    "offset beyond": (tensor(offset=1), "in a storage of 4 numbers"),
    "stride beyond": (tensor(stride=(2**20, 1)), "in a storage of 4 numbers"),
    "negative size": (tensor((-2, -2)), "size has a number below 0"),
    "negative stride": (tensor(stride=(-1, 1)), "stride has a number below 0"),
    "negative offset": (tensor(offset=-1), "offset has a number below 0"),
    "huge size": (tensor((2**62, 2**62), (0, 0)), "beyond any memory"),
    "product of sizes": (tensor((2**40, 2**40), (0, 0)), "of size"),
    "overflowing last index": (tensor((2**47, 2), (2**47, 1)), "of size"),
    "size and stride of unlike length": (tensor((2, 2), (1,)), "differ in length"),
    "a size of floats": (tensor((2.0, 2.0)), "whole numbers"),
    "a size of booleans": (tensor((True, True)), "whole numbers"),
    "a size that is a tensor": (tensor("22"), "whole numbers"),
    "a thousand dimensions": (tensor((1,) * 1000, (1,) * 1000), "whole numbers"),
    "other dtype": (tensor(kind="torch.DoubleStorage"), "announces 32 bytes where it has 16"),
    "storage too large": (tensor(count=2**40), "announces 4,398,046,511,104 bytes where it has 16"),
    "storage of negative size": (tensor(count=-4), "describes a storage"),
    "storage of another key": (
        call("torch._utils._rebuild_tensor_v2", storage("../../etc/passwd"), *map(plain, (0, (2, 2), (2, 1), False))),
        "lacks the numbers",
    ),
    "too few arguments": (call("torch._utils._rebuild_tensor_v2", storage()), "wrong arguments"),
    "no arguments": (call("torch._utils._rebuild_tensor_v2"), "wrong arguments"),
    "infinite": (tensor(kind="torch.HalfStorage", count=8, size=(2, 2)), ""),
}


@pytest.mark.parametrize("what", [what for what in TENSORS if what != "infinite"])
def test_tensors_that_do_not_lie_within_their_storage(tmp_path: Path, what: str) -> None:
    instructions, said = TENSORS[what]
    assert said in attempt(zipped(table(weight=instructions), tmp_path / "w.pt"))


@pytest.mark.parametrize("what", ["too large", "offset", "cut off", "twice", "negative", "no list"])
def test_old_files_that_do_not_hold_what_they_say(tmp_path: Path, what: str) -> None:
    path = tmp_path / "old.pt"
    made = {
        "too large": lambda: old(table(weight=tensor(count=2**40)), path, count=2**40),
        "offset": lambda: old(table(weight=tensor(offset=3)), path),
        "cut off": lambda: old(weights(), path, NUMBERS[:7]),
        "twice": lambda: old(weights(), path, keys=("0", "0")),
        "negative": lambda: old(weights(), path, count=-1),
        "no list": lambda: old(weights(), path, keys="0"),
    }[what]()
    said = attempt(made)
    assert said == "" if what == "no list" else re.search("refused|damaged", said)
    if what == "cut off":
        assert "announces 16 bytes where it has 7; is it cut off? Where you trust" in said


def test_storages_may_overlap_and_weights_be_expanded(tmp_path: Path) -> None:
    """Views of one storage: what is read is what they show, and the model's own weights are apart."""
    path = zipped(table(weight=tensor((2, 2), (0, 0)), bias=tensor((2,), (1,), 1)), tmp_path / "w.pt")
    with nothing_runs(path):
        model = load_checkpoint(lambda: nn.Linear(2, 2), path)
    assert model.state_dict()["weight"].tolist() == [[1, 1], [1, 1]]
    assert model.state_dict()["bias"].tolist() == [2, 3]


# ---- bombs -----------------------------------------------------------------------------------------------------------

DEEP = 20_000


def doubled(levels: int) -> bytes:
    """A tuple that holds itself twice, again and again: 2^levels elements in a few bytes."""
    return plain(1) + b"".join(b"2\x86" for _ in range(levels))


BOMBS: dict[str, tuple[bytes, str]] = {
    "nested lists": (b"]" * DEEP + b"a" * (DEEP - 1), "unexpected"),
    "nested tuples": (EMPTY_TUPLE + b"\x85" * DEEP, "unexpected"),
    "nested marks": (MARK * DEEP + b"l" * DEEP, "unexpected"),
    "nested stubs": (named("my.C") + (EMPTY_TUPLE + b"\x81") * 9 + (b"\x85" + b"R") * 1000, "unexpected|damaged"),
    "a nested tuple as a key": (EMPTY_DICT + EMPTY_TUPLE + b"\x85" * DEEP + plain(1) + b"s", "unexpected"),
    "a doubled tuple as a key": (EMPTY_DICT + doubled(200) + plain(1) + b"s", "unexpected"),
    "a doubled tuple": (doubled(10_000), "unexpected"),
    "a doubled tuple in a set": (b"\x8f" + MARK + doubled(200) + b"\x90", "unexpected"),
    "a doubled tuple in a frozenset": (MARK + doubled(200) + b"\x91", "unexpected"),
    "memo beyond": (plain(1) + b"r\xff\xff\xff\xff", "unexpected"),
    "a text copied without end": (
        plain("x" * 2**16) + b"q\x00" + b"".join(named("_codecs.encode") + b"h\x00X\x06\x00\x00\x00latin1\x86R0"
                                               for _ in range(10_000)),
        "more than 2,000,000 Python objects",
    ),
    "a dict copied without end": (
        plain({str(i): 0 for i in range(5000)}) + b"q\x00"
        + b"".join(named("collections.OrderedDict") + b"h\x00\x85R0" for _ in range(5000)),
        "more than 2,000,000 Python objects",
    ),
    "integers that collide": (
        EMPTY_DICT + MARK + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in
                                     range(2**8, 2**8 + 30_000)) + b"u",
        "unexpected",
    ),
    "an announced text of an exabyte": (b"\x8d" + struct.pack("<Q", 2**60), "damaged"),
    "an announced integer of two gigabytes": (b"\x8b" + struct.pack("<i", 2**31 - 1), "damaged"),
    "an integer of a million digits": (b"L" + b"7" * 1_000_000 + b"L\n", "damaged"),
    "out-of-band buffers": (b"\x97", "NEXT_BUFFER"),
    "an unknown instruction": (b"\xff", "damaged"),
    "an empty stack": (b"0000", "damaged"),
    "numpy of a terabyte": (
        call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), plain((0,)), plain("b"))
        + tuple_of(plain(1), plain((2**40,)), call("numpy.dtype", plain("f8")), plain(False), plain("abc")) + BUILD,
        "damaged",
    ),
    "numpy objects": (call("numpy.dtype", plain("O8")), "unexpected"),
    "a numpy record": (call("numpy.dtype", plain("f8,(1000000,1000000)f8")), "unexpected"),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_bombs(tmp_path: Path, what: str) -> None:
    instructions, said = BOMBS[what]
    for path in (zipped(weights(extra=instructions), tmp_path / "new.pt"),
                 old(weights(extra=instructions), tmp_path / "old.pt")):  # fmt: skip
        assert re.search(said, attempt(path))


def test_names_of_a_million_parts(tmp_path: Path) -> None:
    path = zipped(EMPTY_DICT + plain("a." * 1_000_000 + "weight") + tensor() + b"s", tmp_path / "w.pt")
    assert "has no weight that fits" in attempt(path)


def module(*, state: bytes) -> bytes:
    return named("my.Net") + EMPTY_TUPLE + b"\x81" + state + BUILD


def test_models_that_contain_each_other(tmp_path: Path) -> None:
    """Each holds the next twice: 2^60 names."""
    inner = module(state=table(_parameters=table(weight=tensor()))) + b"q\x01"
    for _ in range(60):
        inner += b"0" + module(state=table(_modules=table(a=b"h\x01", b=b"h\x01"))) + b"q\x01"
    assert "contain each other without end" in attempt(zipped(inner, tmp_path / "w.pt"))
    itself = named("my.Net") + EMPTY_TUPLE + b"\x81q\x01" + table(_modules=table(a=b"h\x01")) + BUILD
    assert "contain each other without end" in attempt(zipped(itself, tmp_path / "w.pt"))


# ---- containers ------------------------------------------------------------------------------------------------------


def test_zip_bombs(tmp_path: Path) -> None:
    path = zipped(weights(zeros=plain("0" * 10_000_000)), tmp_path / "w.pt", method=zipfile.ZIP_DEFLATED)
    assert "compressed or encrypted zip archive" in attempt(path)
    entries = io.BytesIO()
    with zipfile.ZipFile(entries, "w") as archive:
        for number in range(3):
            archive.writestr(f"archive/{number}", b"")
    end = bytearray(entries.getvalue())
    end[-10:-6] = struct.pack("<L", 2**26)  # of the list of contents
    path.write_bytes(end)
    assert "millions of entries" in attempt(path)


def damage(path: Path, change: Callable[[bytes], bytes]) -> str:
    path.write_bytes(change(path.read_bytes()))
    return attempt(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:100], "damaged"),
        (lambda data: data[:4], "damaged"),
        (lambda data: data.replace(b"archive/data.pkl", b"archive/data.pkI"), "damaged"),
        (lambda data: data.replace(b"archive/data/0", b"archive/data/1"), "lacks the numbers"),
        (lambda data: data.replace(b"PK\x03\x04", b"PK\x03\x05"), "damaged"),
        (lambda data: data.replace(struct.pack("<LL", 16, 16), struct.pack("<LL", 8, 8)), "16 bytes where it has 8"),
        (lambda data: data + b"x" * 70_000, "damaged"),
    ],
)
def test_damaged_archives(tmp_path: Path, change: Callable[[bytes], bytes], said: str) -> None:
    path = zipped(weights(), tmp_path / "w.pt")
    assert re.search(said, damage(path, change))


def test_other_containers(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    assert "tar archive, as PyTorch before 0.1.10" in attempt(path)
    assert "TorchScript archive" in attempt(zipped(weights(), path, **{"constants.pkl": b"N."}))
    assert "another byte order" in attempt(zipped(weights(), path, byteorder=b"big"))
    twice = zipped(weights(), path, **{"b__data.pkl": PROTO + weights() + STOP})
    assert "2 files called data.pkl" in attempt(twice)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(ValueError, match="not an ordinary file"):
            load_checkpoint(linear, tmp_path / "pipe.pt")


# ---- the control, and chance -----------------------------------------------------------------------------------------


def test_the_canary_sees_what_a_real_unpickler_does(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "trace"),)

    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(AssertionError), nothing_runs(path):
        pickle.loads(path.read_bytes())
    assert (tmp_path / "trace").is_dir()


def test_every_instruction_of_pickle_is_known() -> None:
    """As of the protocols up to 5; what is not is refused by name."""
    from ldam_widget.checkpoints.pickles import KNOWN

    constants = {code.name for code in pickletools.opcodes if code.arg is not None and not code.stack_before}
    unknown = {code.name for code in pickletools.opcodes} - KNOWN - constants
    assert unknown == {"NEXT_BUFFER", "READONLY_BUFFER"}


def test_random_damage(tmp_path: Path) -> None:
    """The fuzzer for a moment; `python -m tests.checkpoints.fuzz --minutes 10` runs it for longer."""
    counts = fuzz.run(tmp_path, seed=1, files=50)
    assert sum(counts.values()) == 50
    assert {"read", "refused", "damaged"} <= counts.keys()


def test_a_crash_would_be_seen_here(tmp_path: Path) -> None:
    """Deep nesting and doubled keys in a process of their own, since a crash would take the test run with it."""
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    deep = 200_000
    zipped(weights(extra=EMPTY_DICT + EMPTY_TUPLE + b"\x85" * deep + plain(1) + b"s"), first)
    zipped(weights(extra=b"]" * deep + b"a" * (deep - 1)), second)
    code = (
        "import sys, torch, ldam_widget as l\nfor p in sys.argv[1:]:\n try: l.load_checkpoint(torch.nn.Linear(2, 2), p)"
    )
    code += "\n except ValueError as e: print('told', 'extra' in str(e))"
    run = subprocess.run([sys.executable, "-c", code, str(first), str(second)], capture_output=True, text=True,
                         check=False, timeout=300)  # fmt: skip
    assert (run.returncode, run.stdout.split()) == (0, ["told", "True"] * 2), run.stderr[-500:]
