"""Broken and healthy extended XYZ, written on the spot."""

from pathlib import Path

CELL = 'Lattice="5.0 0 0 0 6.0 0 0 0 7.0"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
ROWS = ("Si 0.0 0.0 0.0 0.1 0.0 0.0", "Si 1.5 1.5 1.5 -0.1 0.0 0.0")


def frame(comment: str = "energy=-1.5", rows: tuple[str, ...] = ROWS, cell: str = CELL) -> str:
    """Return the text of one frame of two silicon atoms, changed as asked."""
    return f"{len(rows)}\n{cell} {COLUMNS} {comment}\n" + "".join(row + "\n" for row in rows)


def write(folder: Path, text: str, name: str = "data.xyz") -> Path:
    """Write `text` to a file and return its path."""
    path = folder / name
    path.write_text(text)
    return path
