"""Tables of text from anywhere: what cannot be read is said in one sentence, with the file and the line."""

import contextlib
import csv


@contextlib.contextmanager
def reading(path, kind=csv.reader, **options):
    """A reader of a table in UTF-8.

    Args:
        path: of the table.
        kind: csv.reader or csv.DictReader.
        options: of the reader, such as delimiter.

    Raises:
        ValueError: what is asked of the reader inside cannot be read; names file and line.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = kind(file, **options)
        try:
            yield reader
        except csv.Error as error:
            line = reader.line_num
            raise ValueError(f"{path}, line {line}: {error}. Is a quotation mark left open or not doubled?") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, after line {reader.line_num}: not UTF-8 text. Save the table as UTF-8."
            ) from error
