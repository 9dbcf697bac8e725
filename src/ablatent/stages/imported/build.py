"""imported: not built, but read from a file by do=import."""

from ablatent.core.errors import StageError
from ablatent.stages.context import Context


def build(ctx: Context) -> None:
    """Raise StageError: only do=import publishes an imported network."""
    raise StageError(f"{ctx.title}: expected this network in the store; it is not there. Import it again by do=import.")
