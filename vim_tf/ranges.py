"""The sampling settings and their ranges, for the flags, the Python API and the served signatures.

The bounds keep float32 arithmetic finite: logits of magnitude up to 1e25 can be guided by the largest guidance scale
and divided by the lowest temperature. Processors that flush subnormal numbers would take smaller values of top_p for 0.
"""

import dataclasses

from vim_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, both included. NaN is in no range.

    Attributes:
        low, high: int or float.
        reason: str, why the range is limited, for messages; may be empty.
    """

    low: float
    high: float
    reason: str = ""

    def holds(self, values):
        """Whether values are in the range: bool for a number, bool array for a NumPy array or tensor."""
        return (values >= self.low) & (values <= self.high)

    def check(self, name, value):
        """Refuses a number that isn't in the range.

        Raises:
            InputError: one line with name, value and range.
        """
        if not self.holds(value):
            raise self.refusal(name, value)

    def refusal(self, name, value):
        """The InputError for a value that isn't in the range."""
        return InputError(f"{name} {value} is out of range: {self}")

    def __str__(self):
        low, high = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (self.low, self.high))
        return f"it must be in [{low}, {high}]" + (f", since {self.reason}" if self.reason else "")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A number that can be set for each sample of a request.

    Attributes:
        dtype: "int32" or "float32".
        default: int or float; it leaves the model's distribution as it is.
        allowed: Range of the values.
        help: str, what it does, as `--help` shows it.
    """

    dtype: str
    default: float
    allowed: Range
    help: str


# The dtype of seeds and top_k inside a graph.
INT32 = Range(-(2**31), 2**31 - 1)
# Training seeds: some libraries reject negative ones.
TRAINING_SEED = Range(0, INT32.high)
# How a sample's tokens are drawn. A new setting needs a row here and its use in `vim_tf.sampling.generate`: the flag,
# the argument of `Sampler.sample`, the input of the served signatures and the check follow from the row.
SAMPLING = {
    "temperature": Setting("float32", 1.0, Range(1e-6, 1e6), "divides the logits"),
    "top_k": Setting("int32", 0, Range(0, INT32.high), "draw only from the k likeliest tokens; 0 = all"),
    "top_p": Setting(
        "float32",
        1.0,
        Range(1e-6, 1.0),
        "draw only from the likeliest tokens that together reach this probability; 1 = all",
    ),
    "guidance_scale": Setting(
        "float32",
        1.0,
        Range(0.0, 1e6),
        "classifier-free guidance; 1 = off; other values need a model trained with label_dropout",
    ),
}


def below(count):
    """The range of the integers from 0 to count - 1, such as labels or tokens."""
    return Range(0, count - 1)


def of_model(num_classes, can_be_guided):
    """Ranges of what can be requested from a language model.

    Args:
        num_classes: int, number of its labels; 0 = unconditional, which takes only label 0.
        can_be_guided: bool.

    Returns:
        dict from name to Range: label, seed, and the settings in `SAMPLING`.
    """
    ranges = {"label": below(max(num_classes, 1)), "seed": INT32}
    ranges |= {name: setting.allowed for name, setting in SAMPLING.items()}
    if not can_be_guided:
        reason = "this language model was not trained with both labels and model.label_dropout"
        ranges["guidance_scale"] = Range(1, 1, reason)
    return ranges
