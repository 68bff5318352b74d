"""What the status page says, in words that need no knowledge of the migration."""

from __future__ import annotations

from typing import Final, Literal

State = Literal["not_scheduled", "scheduled", "in_progress", "verifying", "completed", "rolled_back", "delayed"]

BADGES: Final[dict[State, str]] = {
    "not_scheduled": "Not scheduled yet",
    "scheduled": "Scheduled",
    "in_progress": "In progress",
    "verifying": "Verifying",
    "completed": "Completed",
    "rolled_back": "Rolled back",
    "delayed": "Delayed",
}

# headline and message by situation
NOT_SCHEDULED = ("No move is planned yet", "The CRM works as usual. As soon as there is a date, you will find it here.")
SCHEDULED = (
    "The CRM will move to its new version",
    "During the move nobody can work in the CRM. Please save your work before it starts.",
)
LATE = ("The move starts a little later than planned", "The CRM still works as usual. Please save your work.")
PREPARING = (
    "The move to the new version is being prepared",
    "You can still work. In a few minutes the CRM closes for a short time; please finish what you have begun.",
)
MOVING = (
    "The CRM is moving to its new version",
    "Nobody can work in the CRM meanwhile. You need not do anything: this page tells you when it is open again.",
)
VERIFYING = (
    "Almost there: every record is being checked",
    "The new version is in place. Before the CRM opens, each record is compared with what it was before.",
)
GOING_BACK = (
    "The previous version of the CRM is being brought back",
    "Nobody can work in the CRM meanwhile. You need not do anything: this page tells you when it is open again.",
)
MAINTENANCE = ("The CRM is closed for maintenance", "This page tells you when it is open again.")
COMPLETED = (
    "The CRM has moved to its new version",
    "You can work again. Deals are now called opportunities, and a contact can belong to several organizations.",
)
ROLLED_BACK = (
    "The CRM is back on its previous version",
    "You can work as before the move. If there is a new date, you will find it here.",
)
DELAYED_CLOSED = (
    "The move takes longer than planned",
    "The CRM stays closed meanwhile, and what it holds is kept safe. We are working on it.",
)
DELAYED_OPEN = (
    "The move was postponed",
    "You can work as usual. As soon as there is a new date, you will find it here.",
)

# what a phase is called, and the steps that make it up
MOVE: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Getting ready", ("doctor", "base", "source_gate", "lock", "changes")),
    ("Making a safety copy", ("backup", "archive")),
    ("Building the new records", ("sources", "transform_stage_1", "transform_stage_1_5", "prepare")),
    ("Checking the new records", ("tests", "gates")),
    ("Switching over", ("cutover", "validate")),
    ("Verifying every record", ("verify",)),
    ("Opening the CRM", ("put_back", "unlock")),
)
WAY_BACK: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Getting ready", ("lock",)),
    ("Bringing the previous version back", ("rollback",)),
    ("Verifying every record", ("prove",)),
    ("Opening the CRM", ("unlock",)),
)
VERIFYING_STEPS: Final = frozenset({"validate", "verify", "prove"})


def duration(seconds: float) -> str:
    """How long, as one would say it: no more exact than it is known."""
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"about {round(hours / 24)} days"
    said = f"about {hours} hour{'s' if hours > 1 else ''}"
    return f"{said} {rest} minutes" if rest and hours < 6 else said
