"""Score the generations after swaps: stability, efficacy and success, beside random dimensions."""

from geoprobe.images.store import read_columns
from geoprobe.interventions.landmarks import read_landmarks
from geoprobe.interventions.outcomes import landmarks_of_images, read_generations, score_generations, summarise
from geoprobe.runtime import rule_log, write_table


def score(generations, store, landmarks, bootstrap, seed, path):
    """Read generations (JSON lines), image store and table of landmarks; write the scores (CSV)."""
    generations, landmarks, columns = read_generations(generations), read_landmarks(landmarks), read_columns(store)
    used = dict.fromkeys([*generations["source"], *generations["target"].dropna()])
    landmark_of = landmarks_of_images(columns["ids"], columns["groups"], landmarks, used)
    scored = score_generations(generations, landmark_of, landmarks)
    write_table(summarise(scored, bootstrap, seed), path)
    pairs = scored.drop_duplicates(["source", "target"])
    print(f"{len(scored)} generations of {len(pairs)} pairs, {pairs['scored'].sum()} of them scored")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        score(
            snakemake.input.generations,
            snakemake.input.store,
            snakemake.input.landmarks,
            snakemake.params.bootstrap,
            snakemake.params.seed,
            snakemake.output.scores,
        )
