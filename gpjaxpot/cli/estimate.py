"""`gpjaxpot estimate`: memory and time of a fit, before it."""

from gpjaxpot.cli.arguments import Config, Data, Keys, Overrides


def estimate(data: Data, config: Config = None, set_: Overrides = None, key: Keys = None) -> None:
    """Say how much memory and time a fit would take, and which method it would choose."""
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import read_data
    from gpjaxpot.potential.budget import estimate as make_estimate
    from gpjaxpot.potential.settings import load_settings

    settings = load_settings(config, list(set_ or []))
    frames = read_data(data, key)
    report.heading("Estimate")
    report.pairs(make_estimate(frames, settings).rows())
