"""Part the images of a data set into train, validation and test, for fine-tuning on their countries."""

from geoprobe.finetune.splits import assign_parts, label_countries
from geoprobe.images.store import read_columns
from geoprobe.runtime import rule_log, write_table


def split(store, options, path):
    """Read the store's countries and groups, write the part of each image that is used."""
    columns = read_columns(store)
    countries = label_countries(columns["countries"], columns["geocells"])
    parts = assign_parts(columns["ids"], countries, columns["groups"], **options)
    write_table(parts, path)
    for row in parts.attrs["left_out"]:
        print(f"left out: {row['images']} images and {row['countries']} countries: {row['reason']}")
    print(
        f"{path}: {len(parts)} images of {parts['country'].nunique()} countries; {dict(parts['part'].value_counts())}"
    )


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        split(snakemake.input.store, snakemake.params.options, snakemake.output.split)
