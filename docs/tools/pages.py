"""Hook of mkdocs: pages made from files that lie elsewhere in the repository, and links that suit both places.

README.md, CHANGELOG.md and the pages in docs/ are also read on GitHub, so links in them are relative to the file. Here
they become links to the page that a file has, or else to the file in the repository. A link to a file that does not
exist ends a strict build. The atlas in docs/atlases/ becomes a page to browse it with.
"""

from __future__ import annotations

import base64
import json
import logging
import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import ldam_widget as ldam

ROOT = Path(__file__).parents[2]
LOG = logging.getLogger("mkdocs.hooks.pages")
ELSEWHERE = {  # page -> file in the repository
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "measurements.md": "benchmarks/RESULTS.md",
    **{f"notebooks/{file.stem}.md": f"notebooks/{file.name}" for file in sorted((ROOT / "notebooks").glob("*.ipynb"))},
}
PAGE_OF = {source: page for page, source in ELSEWHERE.items()} | {"README.md": "index.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|<)([^)\s#]+)")
CODE = re.compile(r"^( *)(`{3,})[^\n]*\n.*?^\1\2 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PICTURES = {"image/png": "png", "image/gif": "gif", "image/jpeg": "jpg"}  # the best of an output first


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in ELSEWHERE.items():
        if source.endswith(".ipynb"):
            text, pictures = from_notebook(json.loads((ROOT / source).read_text(encoding="utf-8")), Path(source).stem)
            for name, content in pictures.items():
                files.append(File.generated(config, f"notebooks/{name}", content=content))
        else:
            text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for name, content in atlas_pages(ROOT / "docs" / "atlases" / "cifar").items():
        files.append(File.generated(config, f"cifar-atlas/{name}", content=content))
    return files


def atlas_pages(folder: Path) -> dict[str, bytes]:
    """The files of an exported atlas, by name; made anew, so that the page is that of this version."""
    with tempfile.TemporaryDirectory() as made:
        page = ldam.Atlas(folder).export(Path(made) / "page", title="The CIFAR-10 network of ldam-widget", top=False)
        return {
            str(file.relative_to(page.parent).as_posix()): file.read_bytes()
            for file in sorted(page.parent.rglob("*"))
            if file.is_file()
        }


@event_priority(100)
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    source = ELSEWHERE.get(uri, f"docs/{uri}")

    def retarget(match: re.Match[str]) -> str:
        link = match[1]
        if files.get_file_from_path(posixpath.normpath(posixpath.join(posixpath.dirname(uri), link))):
            return link
        target = target_of(link, source, uri, str(config.repo_url))
        if target is None:
            LOG.warning("%s: there is no %s", source, link)
        return target or link

    pieces, end = [], 0
    for code in CODE.finditer(markdown):
        pieces += [LINK.sub(retarget, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join(pieces) + LINK.sub(retarget, markdown[end:])


def target_of(link: str, source: str, uri: str, repository: str) -> str | None:
    """The link on page `uri` that leads where `link` leads in the file `source`; None if that leads nowhere."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    here = posixpath.dirname(uri) or "."
    if path in PAGE_OF:
        return posixpath.relpath(PAGE_OF[path], here)
    if not (ROOT / path).exists():
        return None
    if path.startswith("docs/"):
        return posixpath.relpath(path.removeprefix("docs/"), here)
    return f"{repository}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"


def from_notebook(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """A saved notebook as Markdown with its outputs, and its pictures by file name. Nothing is run."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        if text:
            parts.append(f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            parts += _shown(output, name, pictures)
    return "\n\n".join(parts) + "\n", pictures


def _shown(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> list[str]:
    data: dict[str, Any] = output.get("data", {})
    for kind, suffix in PICTURES.items():
        if kind in data:
            file = f"{name}_{len(pictures)}.{suffix}"
            pictures[file] = base64.b64decode("".join(data[kind]))
            return [f"![Output of the cell above]({file})"]
    if "application/vnd.jupyter.widget-view+json" in data:
        return ["*The live widget appears here when the notebook runs.*"]
    if "text/html" in data:
        return [f'<div class="output" markdown="0">{_one_block("".join(data["text/html"]))}</div>']
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return [f'<div class="output" markdown="1">\n\n```text\n{text}\n```\n\n</div>'] if text else []


def _one_block(html: str) -> str:
    """Without blank lines, which would end a block of HTML in Markdown."""
    return re.sub(r"\n\s*\n", "\n", html)
