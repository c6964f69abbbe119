"""Writes the page and the plot of the ablation."""

import io

from benchmarks.pages.markdown import line, machine, minutes

# Codebook usage of the rows that are in table 4 of https://arxiv.org/abs/2110.04627 (ImageNet 256, 8192 codes).
PAPER_USAGE = {"dim 256": 0.04, "dim 32, no l2-norm": 0.02, "dim 32, l2-norm": 0.96, "CNN": 0.63}
HIGH, LOW = "dim 32, l2-norm", ("dim 256", "dim 32, no l2-norm")
# Metric, heading, digits, factor; a metric that wasn't measured is left out.
_METRICS = (
    ("codebook/usage", "usage", 1, 100),
    ("codebook/usage_per_256", "usage per 256 images", 1, 100),
    ("codebook/perplexity", "perplexity", 1, 1),
    ("reconstruction/psnr", "PSNR, dB", 2, 1),
    ("reconstruction/frechet_distance", "Fréchet distance", 3, 1),
)
_CARRIERS = {"latents": "as they are", "normalized": "as they are compared, scaled to length 1"}
COLORS = ("#d1495b", "#edae49", "#00798c", "#30638e", "#6a994e", "#7b5ea7")


def write(folder, results, seconds_of_this_call):
    """Writes `quantizers.md` and `quantizers.png`.

    Args:
        folder: str.
        results: dict from a row's name to its RowResult.
        seconds_of_this_call: float, for trainings not done by earlier calls, and measuring.
    """
    from vim_tf.storage.files import write_whole

    write_whole(f"{folder}/quantizers.png", plot(results))
    write_whole(f"{folder}/quantizers.md", page(results, seconds_of_this_call))


def page(results, seconds_of_this_call):
    """The Markdown text; arguments as in `write`."""
    return "\n".join(
        [
            "# Quantizers compared at small scale",
            "",
            *_introduction(results),
            "",
            *_table(results),
            "",
            "![Codebook usage over training steps and on the validation split](quantizers.png)",
            "",
            "## The paper's order",
            "",
            *_order(results),
            "",
            "## Conditions",
            "",
            *_conditions(results, seconds_of_this_call),
            "",
        ]
    )


def _introduction(results):
    steps = next(iter(results.values())).config.training.total_steps
    return [
        f"`make ablation` trains {len(results)} tokenizers that differ in one thing each, for {steps} steps with the "
        f"same seed, batches and optimizer,",
        f"and measures them on another part of the photographs. {HIGH} is the paper's quantizer.",
    ]


def _table(results):
    metrics = [column for column in _METRICS if all(column[0] in result.metrics for result in results.values())]
    headings = ["row", *(heading for _, heading, _, _ in metrics), "images/s, training", "images/s, encoding"]
    headings += ["parameters", "usage in the paper"]
    lines = [line(headings), line(["---"] + ["---:"] * (len(headings) - 1))]
    for name, result in results.items():
        cells = [
            f"{factor * result.metrics[metric]:.{digits}f}{' %' if factor == 100 else ''}"
            for metric, _, digits, factor in metrics
        ]
        cells += [f"{result.trained_per_second:.0f}", f"{result.encoded_per_second:.0f}"]
        cells += [
            f"{result.num_parameters / 1e6:.2f} M",
            f"{100 * PAPER_USAGE[name]:.0f} %" if name in PAPER_USAGE else "-",
        ]
        lines.append(line([name, *cells]))
    return lines


def _order(results):
    """Whether the usage of the paper's quantizer is the highest of its three rows, in words and numbers."""
    usage = {name: result.metrics["codebook/usage"] for name, result in results.items()}
    comparisons = [
        f"* {HIGH} {usage[HIGH]:.1%} {'>' if usage[HIGH] > usage[name] else '<='} {name} {usage[name]:.1%} "
        f"(paper: {PAPER_USAGE[HIGH]:.0%} > {PAPER_USAGE[name]:.0%})"
        for name in LOW
    ]
    comes_out = all(usage[HIGH] > usage[name] for name in LOW)
    verdict = "comes out" if comes_out else "does not come out"
    return [f"The order of table 4 {verdict}:", "", *comparisons]


def _conditions(results, seconds_of_this_call):
    first = next(iter(results.values()))
    model, losses, training = first.config.model, first.config.losses, first.config.training
    optimizer, window = first.config.optimizer, first.config.alarms.codebook_window_steps
    counted = first.conditions["codebook/usage"]
    network = first.conditions["reconstruction/frechet_distance"]["feature_network"]
    grid = f"{model.height // model.patch_size} x {model.width // model.patch_size}"
    seconds = sum(result.seconds for result in results.values())
    facts = {
        "Command": "`make ablation`, or `python -m benchmarks.ablation`; settings: `configs/photos/ablation.flags` "
        "and `ROWS` in `benchmarks/ablation.py`.",
        "Images": f"{model.height} x {model.width} crops of two photographs (`photos`). Training crops come from their "
        f"left part, {counted['measured']['num_images']} validation crops from their right part.",
        "Model": f"{model.encoder.num_layers} + {model.decoder.num_layers} Transformer blocks of "
        f"{model.encoder.hidden_dim} dimensions, {grid} tokens, {model.quantizer.codebook_size} codes (FSQ "
        f"{results['FSQ'].config.model.quantizer.codebook_size}). CNN: VQGAN's networks with the paper's quantizer.",
        "Losses": f"squared error {losses.l2_weight:g}, logit-Laplace {losses.logit_laplace_weight:g}, codebook "
        f"{losses.codebook_weight:g}, commitment {losses.commitment_weight:g}; neither perceptual nor adversarial.",
        "Codes": "drawn from N(0, 1) in each dimension at the start, never restarted; their gradient goes to the "
        f"latents {_CARRIERS[model.quantizer.straight_through]}.",
        "Optimizer": f"batches of {training.batch_size}; learning rate {optimizer.learning_rate:g} after "
        f"{optimizer.warmup_steps} steps, then by a {optimizer.schedule} to {optimizer.final_learning_rate:g}.",
        "Usage, perplexity": f"of all {counted['num_tokens']} validation tokens together; in the plot's left half, "
        f"codes chosen in the last {window} training steps.",
        "Fréchet distance": "between reconstructions and the same images, by the features of a small classifier, "
        f"trained {network['steps']} steps to tell the two photographs apart. It doesn't compare with an FID.",
        "Images/s": f"training: median over intervals of {training.log_every_steps} steps; encoding: median over "
        "rounds in which the rows take turns, batches of 128.",
        "Time": f"the trainings took {minutes(seconds)}; the call that wrote this page took "
        f"{minutes(seconds_of_this_call)}, without what earlier calls had trained.",
        "Machine": machine(),
    }
    return [f"* {name}: {text}" for name, text in facts.items()]


def plot(results):
    """Usage while training, and on the validation split: PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    over_time, bars = figure.subplots(1, 2, width_ratios=(1.3, 1))
    for (name, result), color in zip(results.items(), COLORS, strict=True):
        value = result.metrics["codebook/usage"]
        steps, usage = zip(*result.usage, strict=True) if result.usage else ((), ())
        over_time.plot(steps, usage, color=color, linewidth=1.8, label=name)
        bars.barh(f"{name}  {100 * value:.1f} %", value, color=color)
    paper = [(PAPER_USAGE[name], row) for row, name in enumerate(results) if name in PAPER_USAGE]
    bars.plot(*zip(*paper, strict=True), "D", color="black", markerfacecolor="white", label="paper, ImageNet 256")
    bars.invert_yaxis()
    bars.set_xlim(0, 1)
    bars.set_title("share of codes on the validation split", fontsize=10, loc="left")
    over_time.set_xlabel("training step")
    over_time.set_title("share of codes in a window of training steps", fontsize=10, loc="left")
    over_time.set_ylim(bottom=0)
    over_time.set_xlim(left=0)
    for axes in (over_time, bars):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, axis="y" if axes is over_time else "x", alpha=0.3, linewidth=0.5)
        axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=len(results) + 1, frameon=False, fontsize=8)
    output = io.BytesIO()
    figure.savefig(output, format="png", metadata={"Software": None})
    return output.getvalue()
