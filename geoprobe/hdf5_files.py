"""HDF5 files that may be damaged, or laid out as nobody expects: what is wrong with them is said in one sentence."""

import contextlib

import h5py


@contextlib.contextmanager
def naming(path):
    """What cannot be read of a file inside is an error that names it; nothing else is to be done inside.

    Raises:
        OSError: the system's own, such as of a file that is not there.
        ValueError: what is asked of it is not there, or cannot be read.
    """
    try:
        yield
    # what h5py raises for a damaged or missing part depends on which part it is
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        said = isinstance(error, ValueError | OSError) and str(path) in str(error)
        if said or getattr(error, "errno", None):
            raise
        raise ValueError(f"{path}: damaged, or not laid out as is needed ({error}); get or make it anew.") from error


@contextlib.contextmanager
def reading(path):
    """An HDF5 file, open for what is read of it inside; errors as of :func:`naming`."""
    with naming(path), h5py.File(path, "r") as file:
        yield file
