"""What is printed of a run: column heads and captions of its tables, a view each."""

from geoprobe.tables import View

JOB = {"data set": "dataset", "probe": "probe"}
CV = {"folds": "cv"}
CHOSEN = {**CV, "layer chosen by": "choice"}
MODEL = {"model": "label"}
ONE_LAYER = {"tower": "tower", "layer": "layer", **CV}
R2 = ("r2", "low", "high")
INTERVALS = "In brackets: 95 % intervals over geographic blocks, and over seeds where there are several."
PAIRED = "In brackets: 95 % intervals from paired resamples of geographic blocks"

VIEWS = {
    "scores": View(
        "R² of latitude and longitude on the whole data set, by how the layer was chosen; selectivity is R² less "
        "that on "
        f"labels that cells have swapped. {INTERVALS}",
        {**JOB, **MODEL, "supervision": "supervision", **CHOSEN, "control": "control", "R² [95 %]": R2}
        | {"selectivity": "selectivity", "mean R² of folds": "r2_folds", "median error (km)": "median_km"}
        | {"tower": "tower", "layers": "layers", "images": "images", "blocks": "blocks", "seeds": "seeds"},
        {"selectivity": 2, "mean R² of folds": 2, "median error (km)": 0},
    ),
    "differences": View(
        f"Paired differences in R² between models. {PAIRED}, and of seeds; p is corrected for the number of pairs "
        "(Holm).",
        {**JOB, **CHOSEN, "model": "family", "less": "baseline"}
        | {"difference in R² [95 %]": ("difference", "low", "high"), "p": "p", "corrected p": "p_holm"},
        {"p": "p", "corrected p": "p"},
    ),
    "clusters": View(
        "Clusters by mean R² over models, with their tier; distance is the mean one from the cluster's centre.",
        {**JOB, "rank": "rank", "cluster": "cluster", "name": "name", "tier": "tier", "mean R²": "r2"}
        | {"lowest R²": "lowest", "highest R²": "highest", "models": "models", "images": "images"}
        | {"distance": "distance", "variance of latitude (°²)": "latitude_variance"}
        | {"variance of longitude (°²)": "longitude_variance"},
        dict.fromkeys(("mean R²", "lowest R²", "highest R²", "distance"), 2)
        | dict.fromkeys(("variance of latitude (°²)", "variance of longitude (°²)"), 0),
    ),
    "supervisions": View(
        f"Difference in mean R² between kinds of models, on the whole data set. {PAIRED}: for models like these, and "
        "for these models as they are.",
        {
            **JOB,
            **CHOSEN,
            "kind": "supervision",
            "models": "models",
            "less": "baseline",
            "its models": "baseline_models",
        }
        | {"difference in R² [95 %, models like these]": ("difference", "low", "high")}
        | {"[95 %, these models]": ("difference", "low_fixed", "high_fixed")},
    ),
    "text_effect": View(
        "By how much text raises R², from pairs of models that are alike but for text, on the whole data set. "
        f"{PAIRED}: for pairs like these, and for these pairs as they are.",
        {**JOB, **CHOSEN, "alike in": "matched", "with text": "text", "without": "baseline", "pairs": "pairs"}
        | {"effect on R² [95 %, pairs like these]": ("effect", "low", "high")}
        | {"[95 %, these pairs]": ("effect", "low_fixed", "high_fixed"), "pairs above 0": "positive"},
    ),
    "layers": View(
        "Layers that were chosen: in each fold of the whole data set, and the most frequent one over the folds of all "
        f"clusters, with its share of them. {INTERVALS}",
        {**JOB, **MODEL, **CHOSEN, "tower": "tower", "pooling": "pooling", "layers by fold": "layers", "R² [95 %]": R2}
        | {"of clusters": "modal_layer", "share": "modal_share", "clusters": "clusters", "images": "images"},
        {"share": 2},
    ),
    "baselines": View(
        "What is scored without features, on the whole data set: the mean position, and the cell with most training "
        "images. R² of latitude and longitude, means over folds.",
        {"data set": "dataset", "baseline": "baseline", **CV, "R²": "r2_folds", "median error (km)": "median_km"}
        | {"within 750 km": "within_750km", "GeoScore": "geoscore", "number of folds": "folds", "images": "n_test"},
        {"R²": 2, "median error (km)": 0, "within 750 km": 3, "GeoScore": 0},
    ),
    "correlation": View(
        "Mean correlation between two clusters' coefficients, by the share of the dimensions with the largest ones, "
        "and mean R² over clusters. In brackets: 95 % intervals over clusters.",
        {**JOB, **MODEL, **ONE_LAYER, "coefficients": "scaled", "share": "share", "dimensions": "dimensions"}
        | {f"{axis} [95 %]": (axis, f"{axis}_low", f"{axis}_high") for axis in ("latitude", "longitude")}
        | {"mean R² [95 %]": ("r2", "r2_low", "r2_high"), "clusters": "clusters", "pairs": "pairs"},
    ),
    "dimensions": View(
        "R² of probes on some dimensions of a layer, ranked within the training images, beside as many random ones "
        "(mean over draws). In brackets: 95 % intervals over geographic blocks.",
        {
            **JOB,
            **MODEL,
            **ONE_LAYER,
            "axis": "axis",
            "ranked by": "ranking",
            "share": "share",
            "dimensions": "dimensions",
        }
        | {"R² [95 %]": R2, "of that on all": "of_all", "R² of random ones": "random_r2", "draws": "draws"}
        | {"images": "images"},
        {"of that on all": 2, "R² of random ones": 2},
    ),
    "transfer": View(
        "Probes trained on one cluster and tested on another: mean R² within a cluster, median R² between two, the "
        "share of these pairs above 0, and mean R² on a cluster of the probe of all images.",
        {**JOB, **MODEL, **ONE_LAYER, "R² within": "within", "R² between (median)": "between"}
        | {"pairs above 0": "positive", "R² of all on each": "from_all", "clusters": "clusters", "pairs": "pairs"},
        dict.fromkeys(("R² within", "R² between (median)", "pairs above 0", "R² of all on each"), 2),
    ),
    "fairness": View(
        "Errors by continent and by how densely the data cover a place. In brackets: 95 % intervals over geographic "
        "blocks, or over countries where those are held out. The mean error is how far the mean prediction lies from "
        "the mean position.",
        {**JOB, **MODEL, **ONE_LAYER, "by": "by", "group": "group"}
        | {"median error (km) [95 %]": ("median_km", "low", "high"), "within 750 km": "within_750km"}
        | {"mean error (km)": "bias_km", "images": "images", "countries": "countries", "blocks": "units"},
        {"median error (km) [95 %]": 0, "within 750 km": 2, "mean error (km)": 0},
    ),
    "prompts": View(
        f"What prompts do to R² of multimodal models, against prompts that ask nothing. {PAIRED}; p is corrected for "
        "the number of comparisons (Holm).",
        {**JOB, **MODEL, "tower": "tower", **CV, "prompt": "prompt", "measure": "measure", "less": "baseline"}
        | {"value [95 %]": ("value", "low", "high"), "corrected p": "p_holm"},
        {"corrected p": "p"},
    ),
    "finetuning": View(
        "Accuracy of fine-tuned models on the countries of test images, of which each was used once. In brackets: 95 % "
        "intervals over groups of images and trainings.",
        {"data set": "dataset", **MODEL, "supervision": "supervision", "trainings": "trainings"}
        | {"learning rate": "learning_rate"}
        | {
            f"{name} [95 %]": (column, f"{column}_low", f"{column}_high")
            for name, column in (("top 1", "top1"), ("top 5", "top5"), ("mean over countries", "per_country"))
        }
        | {"top 1 by chance": "chance_top1", "images": "images", "countries": "countries"},
        {"learning rate": "g", "top 1 by chance": 2},
    ),
    "published": View(
        "The paper's numbers and this run's. In brackets: 95 % intervals; of the difference, from both intervals, or "
        "from ours alone where the paper printed none. They agree where that interval holds 0. Few: the paper ran "
        "this model on only a few clusters. By the paper's protocol (random folds and the best layer of the test "
        "images; swaps at every token), or by this run's own.",
        {"quantity": "quantity", **MODEL, "of": "of", "share": "share", "few": "few_clusters", "protocol": "protocol"}
        | {**CHOSEN, "data set": "dataset", "where": "where"}
        | {"published [95 %]": ("published", "published_low", "published_high"), "ours [95 %]": ("ours", "low", "high")}
        | {"difference [95 %]": ("difference", "difference_low", "difference_high"), "agree": "agree", "n": "n"},
    ),
    "steering": View(
        "What texts name after a swap of a share of the summary token's dimensions: the source's landmark still "
        "(stability), the target's place (efficacy), both (success); success also less that of random dimensions. In "
        "brackets: 95 % intervals over landmarks and seeds.",
        {"data set": "dataset", **MODEL, "prompt": "prompt", "swapped at": "where", "block": "block"}
        | {"dimensions by": "ranking", "share": "share"}
        | {f"{name} [95 %]": (name, f"{name}_low", f"{name}_high") for name in ("stability", "efficacy", "success")}
        | {"less random [95 %]": ("difference", "difference_low", "difference_high"), "corrected p": "p_holm"}
        | {"pairs": "pairs", "seeds": "seeds"},
        {"corrected p": "p"},
    ),
}
