"""The documentation site: it builds without a warning, its links hold, and it leaves no public name out."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import ldam_widget as ldam

from .blocks import ROOT
from .commands import PROJECT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links, pages = tool("links"), tool("pages")


def test_it_builds_and_every_link_holds(tmp_path: Path) -> None:
    # not --quiet: then warnings are not counted
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    assert list(links.faults_of(tmp_path, "https://ldam-widget.github.io/ldam-widget/")) == []
    assert len(list(tmp_path.rglob("*.html"))) > 30
    assert len(list((tmp_path / "cifar-atlas").rglob("*.webp"))) == 2 * 16, "samples and averages of all blocks"
    assert all(address.startswith("https://") for address in links.addresses_of(tmp_path))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other/">x</a> <a href="other/#there">x</a> <a href="#here" id="here">x</a> <img src="x.png">', ""),
        ('<a href="https://a.org/b">x</a> <a href="/base/other/">x</a> <a href="mailto:a@b.c">x</a>', ""),
        ('<a href="http://localhost:8000/">x</a>', ""),
        ('<img src="http://localhost:8000/x.png">', "not part of the site"),
        ('<a href="https://own.org/base/other/#there">x</a>', ""),
        ('<a href="https://own.org/base/nowhere/">x</a>', "leads nowhere"),
        ('<a href="nowhere/">x</a>', "leads nowhere"),
        ('<img src="y.png">', "leads nowhere"),
        ('<a href="other/#missing">x</a>', "no such anchor"),
        ('<a href="#missing">x</a>', "no such anchor"),
        ('<a href="https://no where.org">x</a>', "is no address"),
        ('<a href="htps://a.org">x</a>', "is no address"),
        ('<script src="https://cdn.org/x.js"></script>', "not part of the site"),
        ('<link rel="stylesheet" href="//fonts.org/x.css">', "not part of the site"),
        ('<video poster="https://a.org/x.png"></video>', "not part of the site"),
    ],
)
def test_the_link_check_finds_faults(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<h2 id="there">x</h2>')
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(body)
    found = list(links.faults_of(tmp_path, "https://own.org/base/"))
    assert len(found) == bool(fault)
    assert all(fault in each for each in found)


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    assert len(list(links.faults_of(tmp_path))) == 1


def test_links_of_files_that_are_read_elsewhere() -> None:
    """From a file of the repository to its page; to GitHub where it has none; to nowhere if there is no such file."""
    repository = "https://github.com/a/b"

    def lead(link: str, source: str, uri: str) -> str | None:
        found: str | None = pages.target_of(link, source, uri, repository)
        return found

    assert lead("docs/networks.md", "CHANGELOG.md", "changelog.md") == "networks.md"
    assert lead("mnist_study.ipynb", "notebooks/cifar_study.ipynb", "notebooks/cifar_study.md") == "mnist_study.md"
    assert lead("../../benchmarks/RESULTS.md", "docs/guide/map.md", "guide/map.md") == "../measurements.md"
    assert lead("../tests/law", "docs/believe.md", "believe.md") == f"{repository}/tree/main/tests/law"
    assert lead("LICENSE", "CHANGELOG.md", "changelog.md") == f"{repository}/blob/main/LICENSE"
    assert lead("docs/nothing.md", "CHANGELOG.md", "changelog.md") is None


def test_a_saved_notebook_becomes_a_page() -> None:
    outputs = [
        {"output_type": "stream", "text": ["two\n", "lines\n"]},
        {
            "output_type": "execute_result",
            "data": {"image/png": "UE5H", "image/jpeg": "SlBH", "text/plain": ["<Image>"]},
        },
        {"output_type": "execute_result", "data": {"text/html": ["<table>\n\n</table>"], "text/plain": ["a table"]}},
        {
            "output_type": "display_data",
            "data": {"application/vnd.jupyter.widget-view+json": {}, "text/plain": ["LDAM"]},
        },
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
    ]
    text, pictures = pages.from_notebook({"cells": cells}, "name")
    assert text.startswith("# Title\ntext\n\n```python\nprint(1)\n```")
    assert "two\nlines" in text
    assert "![Output of the cell above](name_0.png)" in text
    assert pictures == {"name_0.png": b"PNG"}
    assert "<table>\n</table>" in text
    assert "<Image>" not in text
    assert "The live widget" in text


def test_every_public_name_is_in_the_reference() -> None:
    """`kernels`, `figures`, … by what they hold."""
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    described = set(re.findall(r"^::: ldam_widget\.([\w.]+)$", text, re.MULTILINE))
    modules = {"callbacks": ldam.callbacks.__all__, "demo": ldam.demo.__all__, "kernels": ldam.kernels.__all__}
    wanted = {f"{module}.{name}" for module, names in modules.items() for name in names}
    wanted |= {name for name in ldam.__all__ if name not in (*modules, "figures", "__version__")}
    short = {name for name in described if name.startswith("figures.")} | {"demo.mnist", "demo.cifar"}
    assert len(short) >= 5
    assert wanted - described == set()


def test_addresses_agree_and_pictures_are_small() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["site_url"] == PROJECT["urls"]["Documentation"]
    assert settings["repo_url"] == PROJECT["urls"]["Source"]
    heavy = {file.name: file.stat().st_size for file in (ROOT / "docs" / "assets").rglob("*.webp")}
    assert len(heavy) >= 5
    assert {name: size for name, size in heavy.items() if size > 300_000} == {}
