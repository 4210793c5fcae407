"""HDF5 files that may be damaged, or laid out as nobody expects: what is wrong with them is said in one sentence."""

import contextlib

import h5py


@contextlib.contextmanager
def reading(path):
    """An open HDF5 file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: what is asked of it inside is not there, or cannot be read; names the file.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    # what h5py raises for a damaged or missing part depends on which part it is
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        said = isinstance(error, ValueError) and str(path) in str(error)
        if said or isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: damaged, or not laid out as is needed ({error}); get or make it anew.") from error
