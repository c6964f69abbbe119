"""What can be asked of sampling: one place for the flags, the Python API and the served signatures.

The bounds keep float32 arithmetic finite: logits of up to 1e25 in size can be guided by the largest guidance scale and
divided by the lowest temperature. Smaller values of top_p would be taken for 0 by processors that flush what is not
normal.
"""

import dataclasses

from vim_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, both included. NaN lies in no range.

    Attributes:
        low, high: int or float.
        reason: str, what makes it so, for messages; may be empty.
    """

    low: float
    high: float
    reason: str = ""

    def holds(self, values):
        """Whether values lie in it: bool of a number, bool array of a NumPy array or tensor."""
        return (values >= self.low) & (values <= self.high)

    def check(self, name, value):
        """Refuses a number that doesn't lie in it.

        Raises:
            InputError: one line with name, value and range.
        """
        if not self.holds(value):
            raise self.refusal(name, value)

    def refusal(self, name, value):
        """The InputError of a value that doesn't lie in it."""
        return InputError(f"{name} {value} is out of range: {self}")

    def __str__(self):
        low, high = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (self.low, self.high))
        return f"it must lie in [{low}, {high}]" + (f", since {self.reason}" if self.reason else "")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A number that every sample of a request may have its own value of.

    Attributes:
        dtype: "int32" or "float32".
        default: int or float; it leaves the model's distribution as it is.
        allowed: Range of the values.
        help: str, what it does, as `--help` says it.
    """

    dtype: str
    default: float
    allowed: Range
    help: str


# What seeds and top_k are on their way through a graph.
INT32 = Range(-(2**31), 2**31 - 1)
# Seeds of trainings, of which some libraries take no negative ones.
TRAINING_SEED = Range(0, INT32.high)
# How a sample's tokens are drawn. A further setting is a row here and its use in `vim_tf.sampling.generate`: the flag,
# the argument of `Sampler.sample`, the input of the served signatures and the check follow from the row.
SAMPLING = {
    "temperature": Setting("float32", 1.0, Range(1e-6, 1e6), "divides the logits"),
    "top_k": Setting("int32", 0, Range(0, INT32.high), "draw from the k likeliest tokens only; 0 = all"),
    "top_p": Setting(
        "float32",
        1.0,
        Range(1e-6, 1.0),
        "draw from the likeliest tokens that together reach this probability; 1 = all",
    ),
    "guidance_scale": Setting(
        "float32",
        1.0,
        Range(0.0, 1e6),
        "classifier-free guidance; 1 = off; other values need a model trained with label_dropout",
    ),
}


def below(count):
    """The range of the whole numbers from 0 to count - 1, such as labels or tokens."""
    return Range(0, count - 1)


def of_model(num_classes, can_be_guided):
    """Ranges of what is asked of a language model.

    Args:
        num_classes: int, its labels; 0 = unconditional, which takes label 0.
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
