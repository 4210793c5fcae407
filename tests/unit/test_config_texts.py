"""What would end a script of the report is refused; other markup is not."""

import pytest

from geoprobe.config import check_labels, check_texts
from geoprobe.models.registry import expand_seeds, expand_untrained


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "</SCRIPT >", "a <!-- b"])
def test_a_text_that_would_end_a_script_is_refused_with_its_key(text):
    with pytest.raises(ValueError, match=r"config: prompts\.where\.text\[1\]"):
        check_texts({"prompts": {"where": {"text": ["fine", text]}}}, "config: ")
    with pytest.raises(ValueError, match="config: prompts"):
        check_texts({"prompts": {text: 1}}, "config: prompts")


def test_other_markup_is_text():
    check_texts({"label": "<b> & *x* > <", "number": 3, "nothing": None})


ENCODER = {"label": "Ours", "id": "results/encoders/masked-seed{seed}", "loader": "local", "weights": "safetensors"}
PUBLIC = {"label": "ViT", "id": "ann/vit", "loader": "timm", "weights": "any"}


def models_of(**rows):
    return expand_untrained(expand_seeds(rows, [1, 2]), [1, 2])


def test_seeds_share_a_label_and_untrained_copies_have_one_of_their_own():
    models = models_of(masked=ENCODER, vit=PUBLIC)
    assert len(models) == 5
    check_labels(models)


@pytest.mark.parametrize(
    ("label", "others"), [("ViT", "vit and other"), ("Ours", "masked and other"), ("ViT, random weights", "vit-un")]
)
def test_two_models_of_one_label_are_refused(label, others):
    models = models_of(masked=ENCODER, vit=PUBLIC, other=PUBLIC | {"label": label})
    with pytest.raises(ValueError, match=rf'run.models has {others}.* the label "{label}" .*; give each a label'):
        check_labels(models)
