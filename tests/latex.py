"""pdfLaTeX as a person runs it: a minimal article around files that it reads, and what it complained of."""

import re
import shutil
import subprocess

import pytest

needs_latex = pytest.mark.skipif(
    not (shutil.which("pdflatex") and shutil.which("pdftotext")),
    reason="needs pdflatex and pdftotext (Debian's packages texlive-latex-recommended and poppler-utils)",
)
ARTICLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,longtable,pdflscape,array}
\begin{document}
%s
\end{document}
"""
# what runs off the page, is larger than it, or is not defined
COMPLAINTS = re.compile(r"^(?:Overfull|LaTeX Warning|! |Missing character|Package .* Warning).*", re.MULTILINE)


def typeset(paths, folder):
    """Set files in one article, a page or more each; what LaTeX complained of, and the text of the pages."""
    inputs = "\n\\clearpage\n".join(rf"\input{{{path}}}" for path in paths)
    (folder / "article.tex").write_text(ARTICLE % inputs, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"]
    for _ in range(3):  # long tables settle the width of their columns
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace")
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "article.log").read_text(encoding="utf-8", errors="replace")
    said = subprocess.run(
        ["pdftotext", "-layout", "article.pdf", "-"], cwd=folder, check=True, capture_output=True, text=True
    )
    return COMPLAINTS.findall(log), said.stdout
