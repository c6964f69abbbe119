"""The model card."""

import re

from pipelines.model_card import LICENCE_MISSING, model_card

METRICS = {"reconstruction/psnr": 24.968, "generation/frechet_distance": None}
CONDITIONS = {
    "reconstruction/psnr": {"measured": {"num_images": 360, "split": "validation"}},
    "generation/frechet_distance": {
        "measured": {"num_images": 500, "what": "samples"},
        "reference": {"num_images": 360, "split": "validation"},
    },
}


def card(signatures=("encode", "generate"), licence=""):
    facts = {"tokenizer checksum": "abc", "code version": "0.1.0+123"}
    return model_card("digits", "7", list(signatures), METRICS, CONDITIONS, facts, licence)


def test_metrics_stand_beside_what_they_were_measured_on():
    assert "| reconstruction/psnr | 24.97 | 360 validation |" in card()
    assert "| generation/frechet_distance | not finite | 500 samples against 360 validation |" in card()


def test_it_says_what_the_model_is_made_of():
    assert "| tokenizer checksum | abc |\n| code version | 0.1.0+123 |" in card()


def test_a_licence_that_is_not_given_is_asked_for():
    assert f"## Licence\n\n{LICENCE_MISSING}\n" in card()
    assert LICENCE_MISSING not in card(licence="CC BY 4.0")
    assert "## Licence\n\nCC BY 4.0\n" in card(licence="CC BY 4.0")


def test_the_code_on_it_is_python_that_calls_a_signature_that_is_there():
    for signatures, called in ((("encode", "generate"), "generate"), (("encode", "decode"), "encode")):
        code = re.search(r"```python\n(.*?)```", card(signatures), re.DOTALL).group(1)
        compile(code, "card", "exec")
        assert f'signatures["{called}"]' in code


def test_it_begins_as_tf_hub_s_documentation_does():
    assert card().splitlines()[0] == "# Module digits/7"
    assert "<!-- format: saved_model_2 -->" in card()
