"""`ldam sample --json`, exit codes, and the recipe of README.md: what programs rely on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from click.testing import Result
from torch import nn
from typer.testing import CliRunner

import ldam_widget as ldam
from ldam_widget.cli import app
from ldam_widget.command_line.summary import as_json, summary_of
from ldam_widget.diagnostics.report import report
from ldam_widget.diagnostics.results import Samples

NUMBER = {"type": "number"}
KNOWN = {"type": ["number", "null"]}  # null: too few pictures to tell
TEXT = {"type": "string"}
LEVEL = {"enum": ["good", "warn", "wait"]}


def exactly(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def several(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


# Programs rely on it: a field that changes or goes needs another `format`.
SCHEMA = exactly(
    format={"const": 1},
    layer=TEXT,
    input_shape=several({"type": "integer"}),
    kernel=exactly(name=TEXT, note=TEXT),
    seed={"type": "integer"},
    steps={"type": "integer"},
    chains={"type": "integer"},
    device=TEXT,
    execution=TEXT,
    parameters={"type": "object", "additionalProperties": NUMBER},
    verdict=exactly(level=LEVEL, text=TEXT),
    neurons=several(
        exactly(
            label=TEXT, activation=NUMBER, activation_of_chains=several(NUMBER),
            temperature=exactly(requested=NUMBER, measured=KNOWN, ratio=KNOWN),
            r_hat=KNOWN, r_hat_pictures=KNOWN, ess=KNOWN, autocorrelation_time=KNOWN, acceptance=KNOWN, level=LEVEL,
            verdict=TEXT,
        )
    ),
    notes=several(TEXT),
    files=several(TEXT),
    versions=exactly(ldam_widget=TEXT, torch=TEXT, numpy=TEXT, python=TEXT),
)  # fmt: skip


def read(text: str) -> dict[str, Any]:
    """Strictly: one line of ASCII without NaN or Infinity, that fits the schema."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert text.isascii()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    found = json.loads(text, parse_constant=refuse)
    jsonschema.validate(found, SCHEMA)
    assert isinstance(found, dict)
    return found


def sample(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sample", "--json", *arguments])


NOISY = """
import torch
print("imported")
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        print("made")
        self.add_module('say "ß"\\n', torch.nn.Linear(6, 3))
    def forward(self, x):
        print("forward")
        return self.get_submodule('say "ß"\\n')(x)
"""


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    (tmp_path / "mine.py").write_text(NOISY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "--model", "mine.py:Net", "--input-shape", "6", "--steps"


def test_the_numbers_are_those_of_a_sampler(tmp_path: Path) -> None:
    file = str(tmp_path / "x.npz")
    ask = ("--neurons", "3,8", "--chains", "3", "--steps", "60", "--seed", "7", "--kernel", "BAOAB", "-p", "l2=0.1")
    result = sample(*ask, "-o", file)
    assert result.exit_code == 0, result.output
    run = read(result.stdout)
    assert "60 steps" in result.stderr
    demo = ldam.demo.mnist()
    by_hand = ldam.Sampler(
        demo.model, neurons=[3, 8], chains=3, seed=7, kernel=ldam.kernels.BAOAB(), execution="plain",
        regularizers=[ldam.Discriminator(demo.discriminator, 0.0)], **demo.settings,
    )  # fmt: skip
    by_hand.set(l2=0.1)
    by_hand.step(60)
    found = by_hand.diagnostics()
    assert [neuron["label"] for neuron in run["neurons"]] == found.neurons == ["3 three", "8 eight"]
    for name, wanted in (
        ("activation", by_hand.activation.mean(1)),
        ("activation_of_chains", by_hand.activation),
        ("ess", found.ess),
        ("r_hat", found.r_hat),
        ("r_hat_pictures", np.nanmax(found.projections.r_hat, axis=1)),
        ("autocorrelation_time", found.autocorrelation_time),
    ):
        # threads may add up in another order
        np.testing.assert_allclose([neuron[name] for neuron in run["neurons"]], np.asarray(wanted), rtol=1e-3)
    assert [neuron["temperature"]["requested"] for neuron in run["neurons"]] == found.temperature.each
    assert [neuron["verdict"] for neuron in run["neurons"]] == found.verdicts
    assert run["parameters"]["l2"] == pytest.approx(0.1)
    assert (run["layer"], run["seed"], run["steps"], run["chains"]) == ("fc3", 7, 60, 3)
    assert (run["files"], run["execution"]) == ([file], "plain")
    assert run["versions"]["ldam_widget"] == ldam.__version__


def test_what_a_model_prints_and_odd_names_do_not_spoil_it(noisy: tuple[str, ...]) -> None:
    file = 'a "b"\n.png'
    result = sample(*noisy, "2", "-o", file)
    assert result.exit_code == 0, result.output
    run = read(result.stdout)
    assert run["layer"] == 'say "ß"\n'
    assert run["files"] == [file]
    assert Path(file).exists()
    assert all(neuron["r_hat"] is None for neuron in run["neurons"]), "after two steps nothing is known"
    assert {"imported", "made", "forward"} <= set(result.stderr.splitlines())


def test_class_names_of_any_kind(linear: nn.Module) -> None:
    names = ['quote "', "new\nline\u2028break", "half a pair \ud800", "</script>"]
    sampler = ldam.Sampler(linear, input_shape=(6,), class_names=names, seed=1, kernel=ldam.kernels.GHMC())
    for steps in (1, 30):
        sampler.step(steps)
        run = read(as_json(summary_of(sampler, seed=1, files=[])) + "\n")
        assert [neuron["label"] for neuron in run["neurons"]] == [neuron.label for neuron in sampler.neurons]
    assert all(name in neuron["label"] for name, neuron in zip(names, run["neurons"], strict=True))
    assert all(0 <= neuron["acceptance"] <= 1 for neuron in run["neurons"])


def test_numbers_that_json_lacks_are_null() -> None:
    assert json.loads(as_json({"a": [float("nan"), {"b": float("-inf")}, 0.5]})) == {"a": [None, {"b": None}, 0.5]}


def test_levels_are_those_of_the_verdicts() -> None:
    """Three neurons: chains that agree, chains that do not, a neuron that never changes."""
    draws = np.random.default_rng(0).standard_normal((400, 3, 4)).astype(np.float32)
    draws[:, 1] += 5 * np.arange(4, dtype=np.float32)
    draws[:, 2] = 1
    pictures = np.repeat(draws[:, :, :, None], 3, 3) * np.float32([1, 2, 3])
    found = report(Samples(draws, pictures, np.arange(400), 0.01, burned_in=True))
    assert found.levels == ["good", "warn", "warn"]
    assert [said.split(":")[0] for said in found.verdicts[:2]] == ["chains agree", "chains disagree"]
    early = report(Samples(draws[:4], pictures[:4], np.arange(4), 0.01, burned_in=False))
    assert early.levels == ["wait"] * 3


BROKEN = """
import torch
class Net(torch.nn.Linear):
    calls = 0
    def __init__(self, error, after=20):
        super().__init__(6, 3)
        self.error, self.after = error, after
    def forward(self, x):
        Net.calls += 1
        if Net.calls > self.after:
            if self.error is None:
                return super().forward(x) * float("nan")
            raise self.error("out of luck")
        return super().forward(x)
def fails(): return Net(RuntimeError)
def stops(): return Net(KeyboardInterrupt)
def spoils(): return Net(None)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--layer", "fc9", "-o", "x.png"), 2, "error: "),
        (("-o", "x.bmp"), 2, "error: "),
        (("--steps", "many", "-o", "x.png"), 2, "Usage: "),
        (("--model", "mine.py:spoils", "--input-shape", "6", "-o", "x.png"), 2, "error: "),
        (("--model", "mine.py:fails", "--input-shape", "6", "-o", "x.png"), 1, ""),
        (("--model", "mine.py:stops", "--input-shape", "6", "-o", "x.png"), 130, ""),
    ],
)
def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """As `ldam --help` says; nothing is on stdout then, and no file is left."""
    (tmp_path / "mine.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    result = sample(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert said in result.stderr
    assert isinstance(result.exception, RuntimeError if code == 1 else SystemExit)
    assert not list(tmp_path.glob("x.*"))


def test_help_says_the_exit_codes() -> None:
    said = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "Exit codes: 0 done; 2 wrong usage" in said
    assert "130 interrupted" in said


def test_an_encoding_that_lacks_a_letter_loses_nothing_else(noisy: tuple[str, ...]) -> None:
    """Pipes on Windows: "∝" in a kernel's note is no reason to fail after the run."""
    for options in ([], ["--json"]):
        ask = ["sample", *noisy, "2", "--pixel-range", "0,1", "-o", "x.png", *options]
        result = CliRunner(charset="cp1252").invoke(app, ask)
        assert result.exit_code == 0, result.output
        assert "x.png" in result.stdout
        assert "\\u221d" in (result.stderr if options else result.stdout)


def recipe() -> list[tuple[str, str]]:
    """Language and code of each block of the section in README.md."""
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("### A headless recipe\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_headless_recipe_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = recipe()
    assert [language for language, _ in blocks] == ["python", "sh", "python"]
    (tmp_path / "ldam").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ldam_widget "$@"\n')
    (tmp_path / "ldam").chmod(0o755)
    scope: dict[str, Any] = {}
    for language, code in blocks:
        if language == "sh":
            path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(["sh", "-ec", code], check=True, env=os.environ | {"PATH": path})
            read((tmp_path / "run.json").read_text())
        else:
            exec(code, scope)
    assert torch.is_tensor(scope["averages"])
    assert scope["averages"].shape[0] == len(scope["run"]["neurons"]) == 2
    assert (tmp_path / "samples.npz").exists()
