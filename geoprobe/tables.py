"""Tables for reading and for papers: CSV, LaTeX (booktabs) and Markdown from one frame."""

from geoprobe.runtime import replacing

ESCAPES = {letter: f"\\{letter}" for letter in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "²": "$^2$",
}


def _escape(text):
    return "".join(ESCAPES.get(letter, letter) for letter in str(text))


def write_formats(frame, csv, tex, md, caption, digits=3):
    """Write a frame three times.

    Args:
        frame: the table; its CSV has full precision, the others `digits` decimals.
        csv, tex, md: paths.
        caption: one sentence, for LaTeX and Markdown.
        digits: decimals of floating-point columns.
    """
    with replacing(csv) as path:
        frame.to_csv(path, index=False)
    shown = frame.copy()
    for name in shown.select_dtypes("float"):
        shown[name] = [f"{value:.{digits}f}" if value == value else "–" for value in shown[name]]
    with replacing(tex) as path:
        escaped = shown.astype(str).map(_escape).rename(columns=_escape)
        formats = "".join("l" if frame[name].dtype.kind not in "fiu" else "r" for name in frame)
        body = escaped.to_latex(index=False, column_format=formats, caption=_escape(caption), escape=False)
        path.write_text(body, encoding="utf-8")
    with replacing(md) as path:
        cells = shown.astype(str).map(lambda value: value.replace("|", "\\|"))
        text = cells.to_markdown(index=False, disable_numparse=True)
        path.write_text(f"{caption}\n\n{text}\n", encoding="utf-8")
