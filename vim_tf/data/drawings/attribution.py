"""Attribution of the works that drawings are made from."""

from typing import NamedTuple


class Attribution(NamedTuple):
    """What a licence requires to be stated wherever the images are shown.

    Attributes:
        title, creator, licence, licence_url, source: str.
        changes: str, what was done to the work; empty = nothing.
    """

    title: str
    creator: str
    licence: str
    licence_url: str
    source: str
    changes: str = ""

    def __str__(self):
        changes = f"; {self.changes}" if self.changes else ""
        return f"{self.title} ({self.source}) by {self.creator}, {self.licence} ({self.licence_url}){changes}"
