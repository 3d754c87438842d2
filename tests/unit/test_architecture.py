"""docs/architecture.md speaks of what there is: its paths, its names, and which room may import which."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import edgekd

ROOT = Path(edgekd.__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BASE = {"errors", "names", "seeds", "extensions", "workers", "printable", "paths", "torch_fit", "exit_codes"}
FILES = {"py", "proto", "toml", "json", "jsonl", "csv", "md", "txt", "svg", "safetensors"}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# Of ``config/tables.overlay`` or ``hub.Hub.read``: the module, then the name in it.
NAME = re.compile(r"((?:[a-z_]+/)*[a-z_]+)((?:\.[A-Za-z_]\w*)+)")


def quoted(page: str) -> list[str]:
    """What stands in backticks, once each."""
    return list(dict.fromkeys(re.findall(r"`([^`\n]+)`", page)))


def paths(page: str) -> list[str]:
    return [text for text in quoted(page) if re.match(r"(edgekd|peer|tests|proto|docs)/[\w./]*$", text)]


def names(page: str) -> list[str]:
    candidates = [text for text in quoted(page) if text not in paths(page) and NAME.fullmatch(text)]
    return [text for text in candidates if text.rpartition(".")[2] not in FILES]


@cache
def modules() -> tuple[Path, ...]:
    found = (file.relative_to(ROOT) for room in ("edgekd", "peer") for file in (ROOT / room).rglob("*.py"))
    return tuple(sorted(file for file in found if "_pb2" not in file.name))


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def defined(scope: ast.AST) -> dict[str, ast.AST]:
    """The names that a module or a class defines, the attributes that a class gives its instances among them."""
    found: dict[str, ast.AST] = {}
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, Definition):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {each.id: node for each in ast.walk(node) if is_stored(each, ast.Name)}
    if isinstance(scope, ast.ClassDef):
        found = {each.attr: each for each in ast.walk(scope) if is_stored(each, ast.Attribute)} | found
    return found


def is_stored(node: ast.AST, kind: type) -> bool:
    return isinstance(node, kind) and isinstance(node.ctx, ast.Store)


def resolve(name: str) -> str | None:
    """What is wrong with a name; None: there is exactly one module of this name, and it defines the rest."""
    match = NAME.fullmatch(name)
    assert match is not None
    found = [module for module in modules() if f"/{module.with_suffix('')}".endswith(f"/{match[1]}")]
    if len(found) != 1:
        return f"{name}: {len(found)} modules are called {match[1]}: {', '.join(map(str, found))}"
    scope: ast.AST = tree(found[0])
    for part in match[2].split(".")[1:]:
        if part not in defined(scope):
            return f"{name}: {found[0]} has no such {part}"
        scope = defined(scope)[part]
    return None


def room(module: str) -> str:
    """The room of a module, by its dotted name: what the map calls it."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return "base" if package == "edgekd" and first in BASE else first


def imported(module: Path) -> set[str]:
    """The rooms that a module imports from, inside functions too."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {room(name) for name in found if name.partition(".")[0] in ("edgekd", "peer")}


def drawn() -> dict[str, set[str]]:
    """The table of the map: what each room may import."""
    rows = re.findall(r"^\| `(?:edgekd|peer)/(\w+)(?:/|\.py)` \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    return {name: {each.strip() for each in allowed.split(",")} for name, allowed in rows}


def test_page_names_many_paths_and_names() -> None:
    assert len(paths(PAGE)) > 20
    assert len(names(PAGE)) > 80


@pytest.mark.parametrize("path", paths(PAGE))
def test_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_name_resolves_in_one_module() -> None:
    assert [wrong for name in names(PAGE) if (wrong := resolve(name))] == []


@pytest.mark.parametrize("name", ["hub.Hub.no_such_method", "streams.Streams", "no_such_module.name"])
def test_check_finds_a_name_that_is_wrong_or_ambiguous(name: str) -> None:
    assert names(f"| 1 | `{name}` |") == [name]
    assert resolve(name) is not None


def test_every_room_is_on_the_map_and_imports_no_more_than_it_says() -> None:
    allowed = drawn() | {"base": set()}
    rooms = {name for module in modules() if (name := room(".".join(module.with_suffix("").parts))) != "__init__"}
    assert rooms - {"__main__"} == set(allowed)
    beyond = [
        f"{module} imports {', '.join(sorted(more))}"
        for module in modules()
        if (here := room(".".join(module.with_suffix("").parts))) in allowed and allowed[here] != {"everything"}
        if (more := imported(module) - allowed[here] - {here})
    ]
    assert beyond == []
