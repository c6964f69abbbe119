"""The curated schema, against TensorFlow Data Validation's checks of statistics."""

import pytest

from vim_tf.errors import InputError

pytestmark = pytest.mark.slow  # for importing TFX

GOOD = {"image": ["x"] * 4, "label": [0, 1, 2, 0], "height": [8, 9, 20, 8], "width": [8, 8, 8, 8]}


@pytest.fixture(scope="module")
def anomalies():
    """Function from columns and the labels of training to {feature: description} of the anomalies."""
    import pandas
    import tensorflow_data_validation as tfdv

    from pipelines.components.image_schema import image_schema

    def find(train_labels, **columns):
        columns = {name: values for name, values in (GOOD | columns).items() if values is not None}
        statistics = tfdv.generate_statistics_from_dataframe(pandas.DataFrame(columns))
        found = tfdv.validate_statistics(statistics, image_schema(train_labels, 8)).anomaly_info
        return {name: info.description for name, info in found.items()}

    return find


def test_images_without_labels_are_refused_where_the_language_model_needs_them(anomalies):
    from pipelines.components.image_schema import image_schema

    with pytest.raises(InputError, match="the images have no labels, but the language model is conditioned on labels"):
        image_schema([-1], 8, needs_labels=True)
    image_schema([-1], 8, needs_labels=False)
    image_schema([0, 1], 8, needs_labels=True)


def test_good_images_have_no_anomalies(anomalies):
    assert anomalies([0, 1, 2]) == {}
    assert anomalies([-1], label=[-1] * 4) == {}


def test_a_missing_label_is_an_anomaly(anomalies):
    assert anomalies([-1, 0, 1], label=[0, 1, -1, 0]) == {"label": "Unexpectedly small value: -1."}


def test_a_label_beyond_those_of_training_is_an_anomaly(anomalies):
    assert anomalies([0, 1]) == {"label": "Unexpectedly large value: 2."}
    assert anomalies([-1], label=[-1, -1, -1, 0]) == {"label": "Unexpectedly large value: 0."}


def test_a_side_that_is_too_small_is_an_anomaly(anomalies):
    assert anomalies([0, 1, 2], width=[8, 7, 8, 8]) == {"width": "Unexpectedly small value: 7."}


def test_a_missing_feature_is_an_anomaly(anomalies):
    assert list(anomalies([0, 1, 2], image=None)) == ["image"]
