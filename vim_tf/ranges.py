"""Which values the inputs of sampling may have: one place for flags, the Python API and the served signatures.

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


# What seeds and top_k are on their way through a graph.
INT32 = Range(-(2**31), 2**31 - 1)
# Seeds of trainings, of which some libraries take no negative ones.
TRAINING_SEED = Range(0, INT32.high)
SAMPLING = {
    "temperature": Range(1e-6, 1e6),
    "top_k": Range(0, INT32.high),
    "top_p": Range(1e-6, 1.0),
    "guidance_scale": Range(0.0, 1e6),
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
    ranges = {"label": below(max(num_classes, 1)), "seed": INT32, **SAMPLING}
    if not can_be_guided:
        reason = "this language model was not trained with both labels and model.label_dropout"
        ranges["guidance_scale"] = Range(1, 1, reason)
    return ranges
