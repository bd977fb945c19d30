"""`gpjaxpot check`: data read as `fit` would, and what is suspicious in them."""

from gpjaxpot.cli.arguments import Config, Data, DropBad, Keys, Overrides


def check(
    data: Data,
    config: Config = None,
    set_: Overrides = None,
    drop_bad: DropBad = None,
    key: Keys = None,
) -> None:
    """Read the data as fit would; say what was found and what is suspicious.

    With settings it tells too which of them these data do not support. Ends with status 2 if the
    data must not be fitted.
    """
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import read_data, refuse_faults, show_findings
    from gpjaxpot.cli.drop_bad import Dropping
    from gpjaxpot.potential.linter import lint
    from gpjaxpot.potential.settings import load_settings
    from gpjaxpot.structures.check import check as find_faults

    settings = load_settings(config, list(set_ or []))
    dropping = Dropping(drop_bad, [*data, config])
    frames = dropping.left(read_data(data, key, rejected=dropping.rejected))
    findings = [*find_faults(frames), *lint(settings, frames)]
    show_findings(findings)
    refuse_faults(findings)
    dropping.write()
    report.line("\nWhat is left can be fitted." if dropping.rejected else "\nThese data can be fitted.")
