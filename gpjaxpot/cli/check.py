"""`gpjaxpot check`: data read as `fit` would, and what is suspicious in them."""

from gpjaxpot.cli.arguments import Data, Keys


def check(data: Data, key: Keys = None) -> None:
    """Read the data as fit would; say what was found and what is suspicious.

    Ends with status 2 if the data must not be fitted.
    """
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import read_data, refuse_faults, show_findings
    from gpjaxpot.structures.check import check as find_faults

    findings = find_faults(read_data(data, key))
    show_findings(findings)
    refuse_faults(findings)
    report.line("\nThese data can be fitted.")
