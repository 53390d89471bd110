"""Check the built site: `python docs/tools/links.py site [--online]`.

Every link and every source within the site leads to a file, and to an anchor that the page has. Nothing is loaded from
elsewhere: no script, style sheet, font or picture. Addresses elsewhere are well-formed; with --online they must answer.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LINKS = {"a": "href", "area": "href"}
LOADED = {"script": "src", "img": "src", "video": "src", "source": "src", "iframe": "src", "audio": "src"}
RELS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect"}  # of <link>: fetched by the browser
PATIENCE = 20  # seconds


class Reference(NamedTuple):
    target: str
    loaded: bool  # by the browser, without a click


class Reader(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.references: list[Reference] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in LINKS and LINKS[tag] in given:
            self.references.append(Reference(given[LINKS[tag]], False))
        if tag in LOADED and LOADED[tag] in given:
            self.references.append(Reference(given[LOADED[tag]], True))
        if "poster" in given:
            self.references.append(Reference(given["poster"], True))
        if tag == "link" and "href" in given:
            self.references.append(Reference(given["href"], bool(RELS & set(given.get("rel", "").split()))))


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def file_of(path: str, page: Path, site: Path, base: str) -> Path:
    """The file behind the path of an address; `base` is the path at which the site is served."""
    if not path:
        return page
    file = site / path.removeprefix(base).lstrip("/") if path.startswith("/") else page.parent / path
    return file / "index.html" if file.is_dir() or path.endswith("/") else file


def faults_of(site: Path, address: str = "/") -> Iterator[str]:
    """What is wrong with the links of a built site, one line each; `address`: at which it is served."""
    base = urlsplit(address).path
    pages = {page.resolve(): read(page) for page in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} holds no pages"
    for page, content in pages.items():
        name = page.relative_to(site.resolve())
        for target, loaded in content.references:
            if "//" in address and target.startswith(address):
                target = base + target.removeprefix(address)
            parts = urlsplit(target)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.hostname == "localhost" and not loaded:  # the reader's own server
                continue
            if parts.scheme or parts.netloc:
                if loaded:
                    yield f"{name} loads {target}, which is not part of the site"
                elif parts.scheme not in ("http", "https") or "." not in parts.netloc or " " in target:
                    yield f"{name}: {target} is no address"
                continue
            file = file_of(unquote(parts.path), page, site.resolve(), base).resolve()
            if not file.exists():
                yield f"{name}: {target} leads nowhere"
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors:
                yield f"{name}: {target}: that page has no such anchor"


def addresses_of(site: Path) -> list[str]:
    """Of all that lies elsewhere."""
    found = {target for page in site.rglob("*.html") for target, _ in read(page).references if "//" in target}
    return sorted({target.partition("#")[0] for target in found if urlsplit(target).hostname != "localhost"})


def silent(addresses: list[str], own: str) -> Iterator[str]:
    """Those that do not answer. Refused to a program (403, 429) is an answer; pages of the site itself were checked."""
    for address in addresses:
        if address.startswith(own):
            continue
        request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check of ldam-widget)"})
        try:
            urllib.request.urlopen(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                yield f"{address}: {error.code}"
        except OSError as error:
            yield f"{address}: {error}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("site", type=Path)
    options.add_argument("--online", action="store_true")
    options.add_argument("--address", default="https://ldam-widget.github.io/ldam-widget/", help="of the site")
    given = options.parse_args()
    faults = list(faults_of(given.site, given.address))
    if given.online:
        faults += silent(addresses_of(given.site), given.address)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{given.site}: {len(list(given.site.rglob('*.html')))} pages, {len(faults)} broken links")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
