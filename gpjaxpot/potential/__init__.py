"""The trained potential: made by `fit`, saved in one file, asked for predictions."""
