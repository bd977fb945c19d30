"""A table of numbers for the terminal, which Markdown takes too."""

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines of columns as wide as their widest entry; numbers to four significant digits."""
    words = [list(headings), *([_word(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in words) for i in range(len(headings))]
    lines = [
        "| " + " | ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) + " |" for row in words
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _word(value: object) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
