"""One module a figure, one function from a table to a figure."""
