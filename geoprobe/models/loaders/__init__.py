"""One module a loader: `load(row, folder, prompt, protocol, placement)` returns a LoadedModel."""
