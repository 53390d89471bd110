"""What a release needs before it is built: addresses, versions, citation, workflows, and a check that finds faults."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import ldam_widget

from .wheel_check import WANTED, faults_of, faults_of_tag

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's own

ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
SOURCE = PROJECT["urls"]["Source"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def on_the_index() -> str:
    """README.md as the plugin of the build writes it into the metadata."""
    text = README
    for one in SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    return text.replace("$HFPR_VERSION", ldam_widget.__version__)


def test_readme_renders_outside_of_the_repository() -> None:
    """Only addresses change; each leads to a file of this version, pictures to their bytes."""
    at = f"/v{ldam_widget.__version__}/"
    pages, raw = SOURCE + "/blob" + at, SOURCE.replace("//github.com", "//raw.githubusercontent.com") + at
    text = on_the_index()
    assert text.replace(pages, "").replace(raw, "") == README
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 5
    assert all(address.startswith(raw) for address in pictures)
    ours = [address.removeprefix(pages) for address in links if address.startswith(pages)]
    assert {"CONTRIBUTING.md", "benchmarks/RESULTS.md", "notebooks/mnist_study.ipynb"} <= set(ours)
    files = [ROOT / name.partition("#")[0] for name in (*ours, *(each.removeprefix(raw) for each in pictures))]
    assert [file for file in files if not file.exists()] == []
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert [each for each in re.findall(r"\]\(([^)]+)\)", prose) if not each.startswith(("https://", "#"))] == []


def test_pictures_of_the_readme_are_small() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)}
    assert {name: size for name, size in sizes.items() if size > 1.5e6} == {}
    assert sum(sizes.values()) < 3e6


def test_the_version_is_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    assert (ROOT / SETTINGS["tool"]["hatch"]["version"]["path"]).read_text() == (
        f'__version__ = "{ldam_widget.__version__}"\n'
    )
    lock = json.loads((ROOT / "js/package-lock.json").read_text())
    for package in (json.loads((ROOT / "js/package.json").read_text()), lock, lock["packages"][""]):
        assert "version" not in package
    assert f"\n## {ldam_widget.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_citation() -> None:
    """The fields that the format requires; the paper; and what pyproject.toml says, too."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["authors"] == PROJECT["authors"]
    assert (cited["title"], cited["license"]) == (PROJECT["name"], PROJECT["license"])
    assert cited["repository-code"] == SOURCE
    (paper,) = cited["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert [author["family-names"] for author in paper["authors"]] == ["Jiang", "Chan", "Zhang", "Canny"]
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert paper["url"].endswith("1812.04604")


def workflow(name: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def pythons(job: dict[str, Any]) -> set[str]:
    matrix = job["strategy"]["matrix"]
    return {*matrix["python"], *(each["python"] for each in matrix.get("include", []))}


def test_every_action_is_pinned() -> None:
    """To a commit, since a tag can be moved; with its version beside it, for people."""
    files = list((ROOT / ".github/workflows").glob("*.yml"))
    uses = [line.strip() for file in files for line in file.read_text().splitlines() if "uses:" in line]
    assert len(files) >= 3
    assert len(uses) >= 10
    assert [line for line in uses if not re.fullmatch(r"(- )?uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_workflows_cover_the_pythons_that_are_claimed() -> None:
    claimed = {name.split(" :: ")[-1] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    assert PROJECT["requires-python"] == f">={min(claimed, key=lambda name: int(name[2:]))}"
    assert pythons(workflow("nightly")["jobs"]["full"]) == claimed
    assert pythons(workflow("ci")["jobs"]["smoke"]) == claimed
    systems = workflow("ci")["jobs"]["smoke"]["strategy"]["matrix"]
    assert {each["system"] for each in systems["include"]} == {"macos-latest", "windows-latest"}


def test_nothing_is_published_before_it_was_used() -> None:
    release = workflow("release")
    jobs = release["jobs"]
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as True
    assert (jobs["test"]["needs"], jobs["publish"]["needs"]) == ("build", "test")
    assert pythons(jobs["test"]) == {"3.10", "3.14"}
    assert any("make release-check TAG=" in step.get("run", "") for step in jobs["build"]["steps"])
    # trusted publishing: one job may ask for a token, and no password is stored
    assert release["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets" not in (ROOT / ".github/workflows/release.yml").read_text()


def wheel(folder: Path, names: list[str], description: str, weight: int = 0) -> Path:
    file = folder / "ldam_widget-9.9.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as files:
        for name in names:
            files.writestr(name, b"\0" * weight)
        files.writestr("ldam_widget-9.9.0.dist-info/METADATA", f"Metadata-Version: 2.4\n\n{description}")
    return file


@pytest.mark.parametrize(
    ("names", "description", "weight", "found"),
    [
        (WANTED, "[x](https://a.b)\n```\nw.neurons[3](not_a_link)\n```\n", 0, []),
        (WANTED[1:], "[x](https://a.b)", 0, [f"lacks {WANTED[0]}"]),
        ([*WANTED, "tests/conftest.py"], "[x](https://a.b)", 0, ["holds tests/conftest.py"]),
        (WANTED, "![x](docs/x.png) [y](https://a.b)", 0, ["docs/x.png, which is no address"]),
        (WANTED, "", 0, ["no links"]),
        (WANTED, "[x](https://a.b)", 800_000, ["at most 12 MB"]),
    ],
)
def test_the_wheel_check_finds_faults(
    tmp_path: Path, names: list[str], description: str, weight: int, found: list[str]
) -> None:
    said = faults_of(wheel(tmp_path, names, description, weight))
    assert len(said) == len(found)
    assert all(words in one for words, one in zip(found, said, strict=True))


def test_a_tag_needs_its_version_and_a_date(tmp_path: Path) -> None:
    version, undated = faults_of_tag("v9.9.1", wheel(tmp_path, [], ""))
    assert "the tag is v9.9.1, the version 9.9.0" in version
    assert "## 9.9.0 (2026-01-31)" in undated
    assert len(faults_of_tag("v9.9.0", wheel(tmp_path, [], ""))) == 1
