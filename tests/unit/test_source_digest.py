"""Digests of code, on a small package of the test's own: what changes them, and what does not."""

import ast
import itertools
import os
import textwrap

import pytest

from geoprobe.freshness import digest_script, imported_modules, module_file, reached_modules

CLOCK = itertools.count(1_000_000_000)

FILES = {
    "script.py": '''
        """Do it."""

        import json

        from geoprobe.direct import work


        def main(x):
            """Return it."""
            return work(x) + 1
        ''',
    "geoprobe/__init__.py": '"""Package."""\nVERSION = "1"\n',
    "geoprobe/direct.py": '''
        """Directly imported."""

        from geoprobe.deep.leaf import value

        TABLE = {"a": "geoprobe.named", "b": "no module"}


        class Worker:
            """A class."""

            def run(self):
                """A method."""
                return value


        def work(x):
            """Work."""
            import geoprobe.lazy

            return x + value


        async def wait():
            """Wait."""
            return 1
        ''',
    "geoprobe/deep/__init__.py": '"""Folder."""\n',
    "geoprobe/deep/leaf.py": "value = 3\n",
    "geoprobe/deep/unused.py": "value = 5\n",
    "geoprobe/lazy.py": "import geoprobe.behind\n",
    "geoprobe/behind.py": "x = 1\n",
    "geoprobe/named.py": "y = 2\n",
    "geoprobe/other.py": "import geoprobe.direct\n",
    "elsewhere/__init__.py": "",
}
REACHED = {
    "geoprobe": "geoprobe/__init__.py",
    "geoprobe.direct": "geoprobe/direct.py",
    "geoprobe.deep": "geoprobe/deep/__init__.py",
    "geoprobe.deep.leaf": "geoprobe/deep/leaf.py",
    "geoprobe.lazy": "geoprobe/lazy.py",
    "geoprobe.behind": "geoprobe/behind.py",
    "geoprobe.named": "geoprobe/named.py",
}
NOT_REACHED = ["geoprobe/deep/unused.py", "geoprobe/other.py", "elsewhere/__init__.py"]


class Package:
    """A package in a folder of its own, and a script that uses it."""

    def __init__(self, root):
        self.root = root
        for path, text in FILES.items():
            self.write(path, textwrap.dedent(text).lstrip())

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.touch(path)

    def touch(self, path):
        """Give a file another time stamp: writes within one tick of the clock would share theirs."""
        seconds = next(CLOCK)
        os.utime(self.root / path, (seconds, seconds))

    def replace(self, path, old, new):
        text = (self.root / path).read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.write(path, text.replace(old, new))

    def append(self, path, text):
        self.write(path, (self.root / path).read_text(encoding="utf-8") + text)

    def digest(self):
        return digest_script(self.root / "script.py", self.root)

    def reached(self):
        return reached_modules(self.root / "script.py", self.root)


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


def names_in(source):
    return imported_modules(ast.parse(textwrap.dedent(source)))


# what a script reaches


def test_a_script_reaches_exactly_what_it_imports_and_what_that_imports(package):
    assert package.reached() == {name: package.root / path for name, path in REACHED.items()}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import geoprobe.a.b", {"geoprobe", "geoprobe.a", "geoprobe.a.b"}),
        ("import geoprobe.a as b, geoprobe.c", {"geoprobe", "geoprobe.a", "geoprobe.c"}),
        ("from geoprobe import a", {"geoprobe", "geoprobe.a"}),
        ("from geoprobe.a import b, c", {"geoprobe", "geoprobe.a", "geoprobe.a.b", "geoprobe.a.c"}),
        (
            "if x:\n    try:\n        import geoprobe.a\n    except ImportError:\n        pass",
            {"geoprobe", "geoprobe.a"},
        ),
        ("def f():\n    def g():\n        from geoprobe.a import b", {"geoprobe", "geoprobe.a", "geoprobe.a.b"}),
        ("x = 'geoprobe.a.b'", {"geoprobe", "geoprobe.a", "geoprobe.a.b"}),
        ("f(name='geoprobe.a_1')", {"geoprobe", "geoprobe.a_1"}),
        ("x = 'see geoprobe.a'", set()),
        ("x = 'geoprobe'", set()),
        ("import geoprobely.a, numpy", set()),
        ("from numpy import geoprobe", set()),
        ("# import geoprobe.a", set()),
    ],
)
def test_names_of_modules_are_found_in_imports_and_strings(source, names):
    assert names_in(source) == names


def test_a_module_is_a_file_or_a_folder(package):
    assert module_file("geoprobe.direct", package.root) == package.root / "geoprobe/direct.py"
    assert module_file("geoprobe.deep", package.root) == package.root / "geoprobe/deep/__init__.py"
    assert module_file("geoprobe.direct.work", package.root) is None
    assert module_file("geoprobe.absent", package.root) is None


def test_modules_that_import_each_other_are_each_reached_once(package):
    package.append("geoprobe/deep/leaf.py", "import geoprobe.direct\n")
    assert set(package.reached()) == set(REACHED)


def test_a_relative_import_counts_as_any_other(package):
    package.append("geoprobe/behind.py", "from .deep import unused\nfrom . import other\n")
    assert {"geoprobe.deep.unused", "geoprobe.other"} <= set(package.reached())


# what changes nothing

HARMLESS = {
    "a comment": lambda text: "# A comment.\n" + text + "# Another.\n",
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n"),
    "another docstring": lambda text: text.replace('."""', ' better."""'),
    "spaces within lines": lambda text: text.replace(" = ", "  =   ").replace(" + ", "+"),
    "no final line break": lambda text: text.rstrip("\n"),
}


@pytest.mark.parametrize("path", ["script.py", *REACHED.values()])
@pytest.mark.parametrize("change", HARMLESS)
def test_layout_comments_and_docstrings_do_not_change_the_digest(package, path, change):
    before = package.digest()
    package.write(path, HARMLESS[change]((package.root / path).read_text()))
    assert package.digest() == before


def test_docstrings_put_in_or_taken_out_do_not_change_the_digest(package):
    before = package.digest()
    package.write("geoprobe/deep/leaf.py", '"""A new one, long:\n\ngeoprobe.deep.unused\n"""\n\nvalue = 3\n')
    for docstring in ("Worker.run", "work", "wait"):
        name = docstring.split(".")[-1]
        line = {"run": '        """A method."""\n', "work": '    """Work."""\n', "wait": '    """Wait."""\n'}[name]
        package.replace("geoprobe/direct.py", line, "")
    package.replace("geoprobe/direct.py", '"""Directly imported."""\n', "")
    package.replace("geoprobe/direct.py", '    """A class."""\n\n', "")
    assert package.digest() == before


def test_a_docstring_that_names_a_module_reaches_nothing(package):
    package.write("geoprobe/behind.py", '"""geoprobe.other"""\nx = 1\n\n\ndef f():\n    """geoprobe.deep.unused"""\n')
    assert set(package.reached()) == set(REACHED)


def test_a_touch_does_not_change_the_digest(package):
    before = package.digest()
    for path in FILES:
        package.touch(path)
    assert package.digest() == before


@pytest.mark.parametrize("path", NOT_REACHED)
def test_a_module_that_is_not_imported_does_not_change_the_digest(package, path):
    before = package.digest()
    package.append(path, "\nedited = True\n")
    assert package.digest() == before


def test_a_new_module_that_nobody_imports_does_not_change_the_digest(package):
    before = package.digest()
    package.write("geoprobe/new.py", "z = 1\n")
    assert package.digest() == before


def test_the_folder_that_the_package_lies_in_does_not_matter(tmp_path):
    assert Package(tmp_path / "one").digest() == Package(tmp_path / "two").digest()


# what changes it


@pytest.mark.parametrize("path", ["script.py", *REACHED.values()])
def test_a_line_more_in_the_script_or_a_module_it_reaches_changes_the_digest(package, path):
    before = package.digest()
    package.append(path, "\nedited = True\n")
    assert package.digest() != before


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("geoprobe/deep/leaf.py", "value = 3", "value = 4"),
        ("geoprobe/deep/leaf.py", "value = 3", "value = 3.0"),
        ("geoprobe/deep/leaf.py", "value = 3", "value = '3'"),
        ("geoprobe/deep/leaf.py", "value = 3", "values = 3"),
        ("geoprobe/direct.py", "x + value", "x - value"),
        ("geoprobe/direct.py", "async def", "def"),
        ("geoprobe/direct.py", '"no module"', '"nothing"'),
        ("geoprobe/direct.py", "return 1", "return"),
        ("geoprobe/direct.py", "def work(x):", "def work(x=0):"),
        ("script.py", "import json\n", ""),
        ("script.py", "+ 1", "+ True"),
    ],
)
def test_any_change_of_code_changes_the_digest(package, path, old, new):
    before = package.digest()
    package.replace(path, old, new)
    assert package.digest() != before


def test_code_put_in_the_place_of_a_docstring_counts(package):
    before = package.digest()
    package.replace("geoprobe/direct.py", '"""Work."""', 'f"""Work {x}."""')
    assert package.digest() != before


def test_two_modules_that_exchange_their_code_change_the_digest(package):
    before = package.digest()
    package.write("geoprobe/behind.py", FILES["geoprobe/named.py"])
    package.write("geoprobe/named.py", FILES["geoprobe/behind.py"])
    assert package.digest() != before


def test_an_edit_undone_gives_the_first_digest_again(package):
    before = package.digest()
    package.replace("geoprobe/deep/leaf.py", "3", "4")
    package.replace("geoprobe/deep/leaf.py", "4", "3")
    assert package.digest() == before


def test_a_module_is_followed_from_when_it_is_imported(package):
    package.append("geoprobe/behind.py", "import geoprobe.other\n")
    before = package.digest()
    package.append("geoprobe/other.py", "\nedited = True\n")
    assert package.digest() != before


def test_a_digest_is_16_hexadecimal_digits(package):
    assert len(package.digest()) == 16
    assert int(package.digest(), 16) >= 0


def test_a_file_that_cannot_be_parsed_is_named_with_its_line(package):
    package.append("geoprobe/deep/leaf.py", "x = (\n")
    with pytest.raises(SyntaxError) as caught:
        package.digest()
    assert caught.value.filename == str(package.root / "geoprobe/deep/leaf.py")
    assert caught.value.lineno == 2
