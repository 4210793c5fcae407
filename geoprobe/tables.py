"""Tables for reading and for papers: CSV, LaTeX (booktabs) and Markdown from one frame."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from geoprobe import latex
from geoprobe.numbers import NONE, format_number
from geoprobe.runtime import replacing


@dataclass(frozen=True)
class View:
    """What is printed of a frame.

    Attributes:
        caption: what the numbers are, how intervals were made, by which protocol.
        heads: printed head (with the unit) to a column, or to the columns of a number and of its interval's two ends.
        digits: by head, see :func:`geoprobe.numbers.format_number`; 2 where nothing is said. A column of numbers that
            is not named here holds names or counts.
        note: column whose texts become a last column where any row has one.
    """

    caption: str
    heads: dict
    digits: dict = field(default_factory=dict)
    note: str = "reason"

    @property
    def columns(self):
        """The columns of a frame that are shown."""
        of_heads = ([column] if isinstance(column, str) else list(column) for column in self.heads.values())
        return list(dict.fromkeys(column for columns in of_heads for column in columns))


def format_interval(value, low, high, digits):
    """A number with its interval: .35 [.31, .39]; without the interval where there is none."""
    text = format_number(value, digits)
    if pd.isna(value) or pd.isna(low) or pd.isna(high):
        return text
    return f"{text} [{format_number(low, digits)}, {format_number(high, digits)}]"


def print_view(frame, view):
    """What a view shows of a frame, as text, and its caption.

    What all rows have in common (names and counts, no measured numbers) is told once, in the caption.

    Returns:
        A frame of text, the heads of columns that hold numbers, and the caption.
    """
    shown, numeric, common = {}, set(), []
    for head, column in view.heads.items():
        digits = view.digits.get(head, 2)
        if not isinstance(column, str):
            values = frame[list(column)].itertuples(index=False, name=None)
            shown[head] = [format_interval(*row, digits) for row in values]
            numeric.add(head)
            continue
        values = frame[column]
        measured = values.dtype.kind == "f" and head in view.digits
        if measured:
            shown[head] = [format_number(value, digits) for value in values]
        else:
            shown[head] = [_word(value) for value in values]
            if len(frame) > 1 and len(set(shown[head])) == 1:
                common.append((head, shown.pop(head)[0]))
                continue
        if values.dtype.kind in "fiu":
            numeric.add(head)
    notes = [_word(text) if isinstance(text, str) and text else "" for text in frame.get(view.note, [])]
    if any(notes):
        shown["note"] = notes
    told = "; ".join(f"{head}: {word}" for head, word in common if word != NONE)
    caption = f"{view.caption} {told[0].upper()}{told[1:]}." if told else view.caption
    return pd.DataFrame(shown, index=range(len(frame)), dtype=str), numeric, caption


def _word(value):
    """A name or a count; whole numbers stay whole where a gap has made them floating-point."""
    if pd.isna(value) or value == "":
        return NONE
    if isinstance(value, float):
        return format_number(value, 0) if value == int(value) else format_number(value, 2)
    if isinstance(value, int) and not isinstance(value, bool):
        return format_number(value, 0)
    return " ".join(str(value).split())  # a line break would end a row


def _plain(text):
    """A text whose tags and entities Markdown shows and does not pass on as HTML; "< .001" stays as it is."""
    return re.sub(r"<(?=[A-Za-z/!?])|&(?=[A-Za-z#])", r"\\\g<0>", text)


def write_formats(frame, view, csv, tex, md):
    """Write a frame three times: all of it as CSV, and in LaTeX and Markdown what the view shows of the same rows.

    Args:
        frame: the table; its CSV has every column and digit.
        view: :class:`View`.
        csv, tex, md: paths.
    """
    shown, numeric, caption = print_view(frame, view)
    with replacing(csv) as path:
        frame.to_csv(path, index=False)
    with replacing(tex) as path:
        path.write_text(latex.table(shown, numeric, caption, f"tab:{Path(tex).stem}"), encoding="utf-8")
    with replacing(md) as path:
        cells = shown.map(lambda value: _plain(value).replace("|", "\\|"))
        text = cells.to_markdown(index=False, disable_numparse=True)
        path.write_text(f"{_plain(caption)}\n\n{text}\n", encoding="utf-8")
