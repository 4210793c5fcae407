"""
What jobs ask for: memory, time, threads and GPUs.
"""


def megabytes(amount):
    """A function that gives the MB of a job, or of its wildcards: a job killed for want of memory asks for more."""
    return lambda wildcards, attempt: attempt * (
        amount(wildcards) if callable(amount) else amount
    )


def minutes(amount):
    """A function that gives the minutes of a job; more at each attempt, as `megabytes`, up to two days.

    Many clusters keep a job that asks for more waiting for ever. What takes longer goes on where it was cut off:
    training after its last epoch, extraction after its last chunk.
    """
    asked = megabytes(amount)
    return lambda wildcards, attempt: min(asked(wildcards, attempt), 2880)


def model_memory(wildcards, attempt):
    """MB that a model takes with its working space, more at each attempt.

    It also holds the Gram matrices of its layers, which grow with the square of their width as its weights do: 25 of
    folds and of what is near them take 3.4 GB at a width of 4,096.
    """
    return int(1000 * attempt * float(MODELS[wildcards.model]["memory_gb"]))


def model_minutes(per_gb):
    """A function that gives the minutes of a model's job, by the GB of the model: a pass takes as long as it is big."""
    return minutes(
        lambda wildcards: int(per_gb * float(MODELS[wildcards.model]["memory_gb"]))
    )


def probe_resource(name):
    """A function that gives what a probe's job asks for: threads, or GPUs."""
    if name == "gpu":
        return lambda wildcards: int(PROBES[wildcards.probe]["device"] == "cuda")
    return lambda wildcards: PROBES[wildcards.probe][name]
