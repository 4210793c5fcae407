"""Look for known vulnerabilities of what requirements.txt and requirements-dev.txt have installed, directly or not.

pip-audit asks OSV (https://osv.dev) about each package. Options of its own can be added, such as `--ignore-vuln ID`.
Exit status: 0 if no vulnerability is known, or if OSV cannot be reached, which a line says; 1 if one is known; 2 if
pip-audit failed otherwise.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.txt", "requirements-dev.txt")
NOT_OURS = {"pip"}  # comes with the virtual environment, not from the requirements
# the last words of pip-audit where no server was reached, or one that only says that the data base is out of reach
UNREACHED = re.compile(
    r"^requests\.exceptions\.(?:ConnectionError|ProxyError|ConnectTimeout|ReadTimeout): .*\Z"
    r"|^requests\.exceptions\.HTTPError: 50[234] .*$"
    r"|^ERROR:.*Could not connect to .* vulnerability feed.*$",
    re.MULTILINE,
)


def installed(lines):
    """Name to version of the installed packages that requirements and their own requirements name."""
    left = [(line.split("#")[0].strip(), ()) for line in lines if not line.startswith(("#", "-"))]
    found, seen = {}, set()
    while left:
        text, extras = left.pop()
        wanted = Requirement(text) if text else None
        if wanted is None or (wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in ("", *extras))):
            continue
        name, key = canonicalize_name(wanted.name), (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen or name in NOT_OURS:
            continue
        seen.add(key)
        found[name] = metadata.version(name)
        left += [(text, tuple(wanted.extras)) for text in metadata.requires(name) or ()]
    return dict(sorted(found.items()))


def audit(packages, *options):
    """Ask pip-audit about packages (name to version); returns the exit status and what to print."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(f"{name}=={version}\n" for name, version in packages.items())
        pins.flush()
        command = [sys.executable, "-m", "pip_audit", "-r", pins.name, "--no-deps", "--disable-pip"]
        command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off", *options]
        done = subprocess.run(command, capture_output=True, text=True)
    said = done.stderr.strip()
    try:
        report = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if done.returncode and (unreached := UNREACHED.search(said)):
            return 0, f"audit: not done, as the vulnerability data base cannot be reached ({unreached[0][:200]})"
        return 2, f"audit: pip-audit failed\n{said}"
    lines = [
        f"audit: {entry['name']} {entry['version']}: {fault['id']}, "
        f"fixed in {', '.join(fault['fix_versions']) or 'no version'}: {fault['description'][:300]}"
        for entry in report
        for fault in entry.get("vulns", [])
    ]
    lines += [
        f"audit: {entry['name']} was skipped: {entry['skip_reason']}" for entry in report if "skip_reason" in entry
    ]
    if done.returncode == 0:
        lines.append(f"audit: no vulnerability is known of {len(report)} packages")
    return done.returncode, "\n".join(lines)


if __name__ == "__main__":
    lines = [line for name in FILES for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    status, text = audit(installed(lines), *sys.argv[1:])
    print(text, flush=True)
    sys.exit(status)
