"""Writes the page and the plot of the linear probes."""

import io

from benchmarks.pages.markdown import line, machine, minutes

COLORS = ("#00798c", "#d1495b", "#edae49", "#6a994e", "#7b5ea7")
# Table 7 of https://arxiv.org/abs/2110.04627, ImageNet.
PAPER = (
    "VIM-Base 65.1 % with 650 M parameters, VIM-Large 73.2 % with 1697 M, image GPT-L 60.3 % with 1362 M; all on 32 "
    "x 32 tokens of ImageNet"
)
_LATENTS = {"tokenizer": "the image tokenizer's codes", "palette": "the palette's colours"}


def write(folder, rows, seconds_of_this_call):
    """Writes `linear_probe.md` and `linear_probe.png`.

    Args:
        folder: str.
        rows: dict from a row's name to its Row, VIM's first.
        seconds_of_this_call: float, for trainings not done by earlier calls, and measuring.
    """
    from vim_tf.storage.files import write_whole

    write_whole(f"{folder}/linear_probe.png", plot(rows))
    write_whole(f"{folder}/linear_probe.md", page(rows, seconds_of_this_call))


def page(rows, seconds_of_this_call):
    """The Markdown text; arguments as in `write`."""
    return "\n".join(
        [
            "# Linear probes of VIM and image GPT",
            "",
            "How often a linear softmax layer over frozen features names an image's class. The same language model is",
            "trained alike on the tokens of the image tokenizer (VIM) and of palettes (image GPT, iGPT).",
            "",
            *_table(rows),
            "",
            "![Top-1 accuracy of each block](linear_probe.png)",
            "",
            "## The paper's claim",
            "",
            *_verdict(rows),
            "",
            "## Conditions",
            "",
            *_conditions(rows, seconds_of_this_call),
            "",
        ]
    )


def _table(rows):
    headings = ["features", "tokens", "size", "parameters below", "top-1", "95 % interval"]
    lines = [line(headings), line(["---"] + ["---:"] * (len(headings) - 1))]
    for name, row in rows.items():
        kinds = {"pixels": "pixels of the image", "latents": f"{name}: {_LATENTS[row.tokenizer]}"}
        for kind, text in kinds.items():
            if f"linear_probe/{kind}_top1" in row.result.metrics:
                lines.append(_feature_line(text, row, f"linear_probe/{kind}_top1", "-"))
        best = int(row.result.metrics["linear_probe/best_block"])
        text = f"{name}: block {best} of {row.model.model.num_layers}, counted from 0"
        lines.append(_feature_line(text, row, "linear_probe/top1", f"{row.num_parameters / 1e6:.2f} M"))
    return lines


def _feature_line(text, row, metric, parameters):
    condition = row.result.conditions[metric]
    low, high = condition["interval_95"]
    tokens = "-" if "pixels" in metric else str(row.num_tokens)
    value = f"{100 * row.result.metrics[metric]:.1f} %"
    return line(
        [text, tokens, str(condition["feature_size"]), parameters, value, f"{100 * low:.1f} to {100 * high:.1f} %"]
    )


def _verdict(rows):
    """VIM's best block compared with each other row's, in words and numbers."""
    (vim_name, vim), *others = rows.items()
    lines = []
    for name, row in others:
        difference = vim.result.metrics["linear_probe/top1"] - row.result.metrics["linear_probe/top1"]
        direction = "better than" if difference > 0 else "worse than" if difference < 0 else "equal to"
        apart = "the intervals don't overlap" if _are_apart(vim, row) else "the intervals overlap"
        longer = f", which sees {row.num_tokens} tokens where VIM sees {vim.num_tokens}"
        lines.append(
            f"* {vim_name} is {abs(100 * difference):.1f} points {direction} {name}"
            f"{longer if row.num_tokens != vim.num_tokens else ' on as many tokens'}; {apart}."
        )
    return [f"The paper finds VIM's features better than image GPT's at the same size ({PAPER}). Here:", "", *lines]


def _are_apart(one, other):
    (low, high), (other_low, other_high) = (
        row.result.conditions["linear_probe/top1"]["interval_95"] for row in (one, other)
    )
    return high < other_low or other_high < low


def _conditions(rows, seconds_of_this_call):
    first = next(iter(rows.values()))
    condition = first.result.conditions["linear_probe/top1"]
    measured, trained_on, optimizer = (condition[name] for name in ("measured", "trained_on", "optimizer"))
    model, training = first.model.model, first.model.training
    bits = ", ".join(f"{name} {row.bits_per_token:.3f}" for name, row in rows.items() if row.bits_per_token is not None)
    labels = "with" if condition["model"]["language_model"]["trained_with_labels"] else "without"
    # A palette's row is named after its grid, as in "iGPT 4 x 4".
    grids = ",".join(name.split()[1] for name, row in rows.items() if row.tokenizer == "palette")
    facts = {
        "Command": f"`python -m benchmarks.linear_probe --tokenizer=<trained image tokenizer> --grids={grids}`; "
        "settings: `configs/digits/language_model.flags` and `configs/digits/linear_probe.flags`.",
        "Images": f"{measured['source']}: heads are trained on {trained_on['num_images']} images and measured on "
        f"{measured['num_images']} others.",
        "Language models": f"{model.num_layers} blocks of {model.hidden_dim} dimensions, trained {labels} labels for "
        f"{training.total_steps} steps of {training.batch_size} images; they differ in the number of codes and tokens.",
        "Bits per token": f"on the validation split: {bits or 'not recorded'}. Tokens differ, so these don't compare.",
        "Features": "mean over the slots of a block's output, in the place of the label what says that there is none; "
        f"pixels as they are, codes {condition['probe']['latents']}. Standardized by mean and deviation of "
        f"{condition['probe']['statistics_steps']} training batches.",
        "Heads": f"{condition['steps']} steps of {condition['batch_size']} images, learning rate "
        f"{optimizer['learning_rate']:g} to {optimizer['final_learning_rate']:g}, weight decay "
        f"{optimizer['weight_decay']:g}; the paper says nothing of it.",
        "Best block": "chosen on the very images that it is measured on: a little too high, in all rows alike.",
        "Interval": "Wilson's score; of the images alone, not of the trainings' seeds.",
        "Time": f"the call that wrote this page took {minutes(seconds_of_this_call)}, without what earlier calls had "
        "trained.",
        "Machine": machine(),
    }
    return [f"* {name}: {text}" for name, text in facts.items()]


def plot(rows):
    """Accuracy of each block, with lines for pixels and codes for comparison: PNG bytes."""
    from matplotlib import ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from vim_tf.evaluation.linear_probe import depth_curve

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, (name, row) in enumerate(rows.items()):
        color = COLORS[index % len(COLORS)]
        blocks, values, lows, highs = depth_curve(row.result)
        axes.fill_between(blocks, lows, highs, color=color, alpha=0.15, linewidth=0)
        axes.plot(blocks, values, color=color, linewidth=1.8, marker="o", markersize=4, label=name)
        axes.axhline(
            row.result.metrics["linear_probe/latents_top1"],
            color=color,
            linewidth=1,
            linestyle=":",
            label=f"{name}: {_LATENTS[row.tokenizer]}",
        )
        if "linear_probe/pixels_top1" in row.result.metrics:
            axes.axhline(
                row.result.metrics["linear_probe/pixels_top1"],
                color="black",
                linewidth=1,
                linestyle="--",
                label="pixels",
            )
    axes.set_xlabel("block, counted from 0")
    axes.set_title("top-1 accuracy of a linear layer, with 95 % intervals", fontsize=10, loc="left")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": None})
    return output.getvalue()
