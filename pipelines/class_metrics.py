"""What TensorFlow Model Analysis found of each class, for people."""


def class_table(folder, class_names):
    """Lines of an aligned table: images and accuracy of all classes and of each.

    Args:
        folder: of the evaluation, as TFX's Evaluator writes it.
        class_names: list of str, by label.

    Returns:
        list of str.
    """
    import tensorflow_model_analysis as tfma

    rows = []
    for key, metrics in tfma.load_eval_result(folder).get_metrics_for_all_slices().items():
        place, name = -1, "all"
        if key:
            ((_, place),) = key
            name = class_names[place] if 0 <= place < len(class_names) else "no label"
        count, accuracy = (metrics[each]["doubleValue"] for each in ("example_count", "sparse_categorical_accuracy"))
        rows.append((len(key), place, name, count, accuracy))
    width = max(len(name) for _, _, name, _, _ in rows)
    return [f"  {name:<{width}}  {count:6.0f} images  {accuracy:7.2%}" for _, _, name, count, accuracy in sorted(rows)]
