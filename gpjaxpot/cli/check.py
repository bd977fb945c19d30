"""`gpjaxpot check`: data read as `fit` would, and what is suspicious in them."""

from gpjaxpot.cli.arguments import Config, Data, Keys, Overrides


def check(data: Data, config: Config = None, set_: Overrides = None, key: Keys = None) -> None:
    """Read the data as fit would; say what was found and what is suspicious.

    With settings it tells too which of them these data do not support. Ends with status 2 if the
    data must not be fitted.
    """
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import read_data, refuse_faults, show_findings
    from gpjaxpot.potential.linter import lint
    from gpjaxpot.potential.settings import load_settings
    from gpjaxpot.structures.check import check as find_faults

    settings = load_settings(config, list(set_ or []))
    frames = read_data(data, key)
    findings = [*find_faults(frames), *lint(settings, frames)]
    show_findings(findings)
    refuse_faults(findings)
    report.line("\nThese data can be fitted.")
