"""What must be made again: after an edit the stages that use it, by digests of source code; after a kill what it took.

Snakemake watches a script by its time stamp and the modules that it imports not at all. Each rule carries
`params: code=` a digest of the syntax trees of its script and of the package modules which that script
reaches by imports. Comments, layout, docstrings and time stamps are not part of a syntax tree's digest.
"""

import ast
import base64
import binascii
import functools
import hashlib
import re
from pathlib import Path

PACKAGE = "geoprobe"
ROOT = Path(__file__).resolve().parent.parent
# a string that spells a module's dotted name, in the dump of a syntax tree
SPELT = re.compile(rf"Constant\(value='({PACKAGE}(?:\.[a-z_][a-z0-9_]*)+)'[,)]")


def module_file(name, root):
    """Path of a package module by its dotted name, or None where there is none."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def statements(tree):
    """The module, its statements at any depth, and the handlers and cases of these; what they are made of left out."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            pending += getattr(node, name, ())


def imported_modules(tree, package="", text=None):
    """Dotted names in a syntax tree that may be package modules; `package` is where relative imports start.

    Import statements anywhere in the file count, and so do strings that spell a module's dotted name, as a
    table of modules to be loaded by name holds. `text` is the tree's dump, where that is there already.
    """
    names = set(SPELT.findall(ast.dump(tree) if text is None else text))
    for node in statements(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, [start, node.module]))
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    return {name for name in names | parents if name == PACKAGE or name.startswith(f"{PACKAGE}.")}


# Hundreds of files are read before anything runs, so of each no more is walked than must be.
@functools.cache
def _parse(path, package, stamp):
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    text = ast.dump(tree)
    return text, frozenset(imported_modules(tree, package, text))


def parse(path, root=ROOT):
    """Syntax tree of a file as text, without docstrings, and the package modules it names."""
    inside = path.is_relative_to(root / PACKAGE)
    package = ".".join(path.parent.relative_to(root).parts) if inside else ""
    return _parse(path, package, path.stat().st_mtime_ns)


def reached_modules(script, root=ROOT, left_out=()):
    """Package modules that a script reaches by imports, itself left out: dotted name to path.

    Args:
        script: path of the script or module to start from.
        root: folder of the package.
        left_out: dotted names that are not entered, as of modules that are loaded by name and belong to other data.

    Raises:
        SyntaxError: a file cannot be parsed; names the file and the line.
    """
    found, pending = {}, [script]
    while pending:
        for name in parse(pending.pop(), root)[1]:
            path = module_file(name, root)
            if path is not None and name not in found and name not in left_out:
                found[name] = path
                pending.append(path)
    return found


def digest_script(script, root=ROOT, table=(), used=None):
    """SHA-256, 16 digits, of the code of a script and of the package modules that it reaches.

    Args:
        script: path of the script.
        root: folder of the package.
        table: dotted names of modules of which one is loaded by name.
        used: the one of them that this job loads.
    """
    digest = hashlib.sha256(parse(Path(script), root)[0].encode())
    reached = reached_modules(Path(script), root, left_out=table)
    if used is not None:
        path = module_file(used, root)
        reached |= {used: path, **reached_modules(path, root, left_out=table)}
    for name, path in sorted(reached.items()):
        digest.update(f"\n{name}\n{parse(path, root)[0]}".encode())
    return digest.hexdigest()[:16]


def unfinished_outputs(folder="."):
    """Outputs that Snakemake removed before a job that then never ended, in a working folder.

    Returns:
        Paths as in the rules, sorted; nothing is there, or an empty file. Of each job that began, Snakemake keeps an
        empty record until its end, whose path is that of the output in base 64, in pieces of which all but the last
        begin with "@".
    """
    records = Path(folder, ".snakemake", "incomplete")
    paths = []
    for record in filter(Path.is_file, records.rglob("*")):
        try:
            name = "".join(piece.removeprefix("@") for piece in record.relative_to(records).parts)
            path = base64.urlsafe_b64decode(name).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # not a record
        there = Path(folder, path)
        if not there.exists() or (there.is_file() and not there.stat().st_size):
            paths.append(path)
    return sorted(paths)
