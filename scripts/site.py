"""What MkDocs needs to know beyond docs/: a hook that mkdocs.yml names.

No page exists twice. Files outside docs/, such as README.md, become pages; a link to any other file of the repository
leads to a copy of the file; a link to a folder becomes text. So every link works both here and on a forge.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COPIES = "repository/"  # where files of the repository lie on the site
PAGES = {  # outside docs/, by their names on the site
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reporting.md": "SECURITY.md",
    "race.md": "benchmarks/race/README.md",
    **{f"experiments/{page.name}": f"experiments/{page.name}" for page in (ROOT / "experiments").glob("*.md")},
}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """List the pages that `nav` does not name."""
    assert config.nav is not None
    named = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    known = [*PAGES, *(str(page.relative_to(ROOT / "docs")) for page in sorted((ROOT / "docs").rglob("*.md")))]
    if missing := [page for page in known if page not in named]:
        config.nav.append({"More": missing})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages outside docs/, and the files of the repository to which any page links."""
    for name, path in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for page in files.documentation_pages():
        for target in _targets(page.content_string, page.src_uri):
            copy = _on_site(target)
            if copy.startswith(COPIES) and (ROOT / target).is_file() and copy not in files.src_uris:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn each link, which is right in the repository, into one that is right on the site."""
    here = page.file.src_uri

    def replaced(link: re.Match[str]) -> str:
        if not _is_path(link["target"]):
            return link[0]
        target = _in_repository(link["target"], here)
        if (ROOT / target).is_dir():
            return link["text"]
        path = posixpath.relpath(_on_site(target), posixpath.dirname(here) or ".")
        return f"{link['image']}[{link['text']}]({path}{link['anchor'] or ''})"

    # Blocks of code, which every second part is, stay as they are.
    parts = re.split(r"(^```.*?^```)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def _targets(markdown: str, page: str) -> Iterator[str]:
    """The files of the repository to which a page links."""
    for link in LINK.finditer(markdown):
        if _is_path(link["target"]):
            yield _in_repository(link["target"], page)


def _is_path(target: str) -> bool:
    return not re.match(r"[a-z]+:", target)


def _in_repository(target: str, page: str) -> str:
    """The path in the repository of what a page of the site links to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(PAGES.get(page, f"docs/{page}")), target))


def _on_site(path: str) -> str:
    """The path on the site of a path in the repository."""
    for name, source in PAGES.items():
        if source == path:
            return name
    return path.removeprefix("docs/") if path.startswith("docs/") else COPIES + path
