"""Which of the answers that are under way at once is shown: that of the newest form. Pure.

Gradio asks again at every change, and two changes of one moment, such as those of "Use these
settings again", run side by side: without this the slower answer would stay, whatever it answers.
"""

from dataclasses import dataclass

# Run by the browser as it asks: the first value becomes the number of the question.
COUNT = "(_, ...rest) => [(window.thTurn = (window.thTurn || 0) + 1), ...rest]"


@dataclass(slots=True)
class Turns:
    """The number of the newest question of one visit."""

    newest: int = 0

    def begin(self, number: int) -> bool:
        """Return whether a question is worth an answer: no newer one has come."""
        self.newest = max(self.newest, number)
        return self.holds(number)

    def holds(self, number: int) -> bool:
        """Return whether a question is still the newest."""
        return number == self.newest
