"""Every option of the commands, declared once, in a file a command.

Each has its type and range, and below them what it means. Defaults stand in `conf/<command>.yaml`.
What has a `_target_` declares its own options, by the signature of that class or function; here it
is `Made`. `make options` carries the sentences into `docs/configuration.md` and behind the options
in `conf/`.
"""

from adpt.cli.options.doctor import Doctor
from adpt.cli.options.evaluate import Evaluate
from adpt.cli.options.kinds import Made, Names, Parts, Section
from adpt.cli.options.predict import Predict
from adpt.cli.options.publish import Publish
from adpt.cli.options.report import Report
from adpt.cli.options.serve import Serve
from adpt.cli.options.train import Train

__all__ = ["COMMANDS", "Made", "Names", "Parts", "Section"]

COMMANDS: dict[str, type[Section]] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "serve": Serve,
    "report": Report,
    "doctor": Doctor,
    "publish": Publish,
}
