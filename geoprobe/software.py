"""Which software computed a run: versions of the libraries and the commit of the code."""

import importlib.util
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import geoprobe
from geoprobe.runtime import DISTRIBUTIONS, LIBRARIES

ROOT = Path(__file__).resolve().parent.parent


def software_sentence(commit):
    """Versions of what computed, as installed where this is called.

    Args:
        commit: of :func:`git_commit`.
    """
    installed = {DISTRIBUTIONS.get(name, name): name for name in LIBRARIES if importlib.util.find_spec(name)}
    versions = [f"{name} {version(name)}" for name in sorted([*installed, "snakemake", "scipy"], key=str.lower)]
    ours = f"geoprobe {geoprobe.__version__} ({commit}), Python {platform.python_version()}"
    return f"Computed with {ours}, {', '.join(versions)}."


def git_commit(root):
    """The commit of a checkout in words, with a word where files differ from it; says so where there is none."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        # a folder above may be a repository too
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != Path(root).resolve():
            return "no git commit"
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return f"git commit {git('rev-parse', 'HEAD').strip()}{', with changed files' if changed else ''}"
    except (OSError, subprocess.CalledProcessError):
        return "no git commit"
