"""What would end a script of the report is refused; other markup is not."""

import pytest

from geoprobe.config import check_texts


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "</SCRIPT >", "a <!-- b"])
def test_a_text_that_would_end_a_script_is_refused_with_its_key(text):
    with pytest.raises(ValueError, match=r"config: prompts\.where\.text\[1\]"):
        check_texts({"prompts": {"where": {"text": ["fine", text]}}}, "config: ")
    with pytest.raises(ValueError, match="config: prompts"):
        check_texts({"prompts": {text: 1}}, "config: prompts")


def test_other_markup_is_text():
    check_texts({"label": "<b> & *x* > <", "number": 3, "nothing": None})
