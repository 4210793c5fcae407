"""The audit of dependencies: a known vulnerability fails, a data base that is out of reach does not, all else does."""

import importlib.util
import json
import socket

import pytest
from conftest import ROOT
from image_server import ImageServer

spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

PACKAGES = {"demo": "1.0", "other-demo": "2.1"}
FAULT = {
    "id": "PYSEC-2026-1",
    "summary": "reads what it should not",
    "affected": [
        {
            "package": {"name": "demo", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


def ask(answer):
    """Exit status and text of an audit by a service that answers a question with a status and a body; its questions.

    The questions are those of https://google.github.io/osv.dev/post-v1-query/.
    """
    questions = []

    def answered(asked):
        questions.append(json.loads(asked.body))
        status, body = answer(questions[-1])
        return status, {}, body

    with ImageServer() as server:
        server.answers["/v1/query"] = answered
        return *audit.audit(PACKAGES, "--osv-url", f"{server.root}/v1/query"), questions


def faulty(question):
    found = {"vulns": [FAULT]} if question["package"]["name"] == "demo" else {}
    return 200, json.dumps(found).encode()


def test_a_known_vulnerability_fails_and_is_named_with_its_fix():
    status, text, asked = ask(faulty)
    assert (status, text) == (1, "audit: demo 1.0: PYSEC-2026-1, fixed in 1.1: reads what it should not")
    assert {(question["package"]["name"], question["version"]) for question in asked} == set(PACKAGES.items())


def test_packages_without_known_vulnerabilities_pass():
    assert ask(lambda question: (200, b"{}"))[:2] == (0, "audit: no vulnerability is known of 2 packages")


def closed():
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1/query"


def test_a_data_base_out_of_reach_is_said_in_a_line_and_does_not_fail():
    for status, text in (audit.audit(PACKAGES, "--osv-url", closed()), ask(lambda question: (503, b""))[:2]):
        assert status == 0
        assert text.startswith(
            "audit: not done, as the vulnerability data base cannot be reached (requests.exceptions."
        )
        assert text.count("\n") == 0


@pytest.mark.parametrize("answer", [(200, b"<p>Log in"), (404, b""), (500, b"")])
def test_an_answer_that_is_none_of_the_data_base_fails(answer):
    status, text, _ = ask(lambda question: answer)
    assert status == 2
    assert text.startswith("audit: pip-audit failed\n")


def test_what_is_audited_is_what_the_requirements_installed():
    lines = [*(ROOT / "requirements.txt").read_text().splitlines(), "# a comment", "-r other.txt"]
    found = audit.installed(lines)
    assert {"torch", "pillow", "pyyaml", "huggingface-hub"} <= set(found)
    assert "numpy" in audit.installed(["pandas>=2  # needs numpy"])
    assert "pytest" not in found
    assert "pip" not in found
