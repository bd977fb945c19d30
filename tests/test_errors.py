"""Messages for people."""

import pytest

from gpjaxpot.errors import InputError, did_you_mean


def test_input_error_is_a_value_error():
    with pytest.raises(ValueError, match="text"):
        raise InputError("text")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dft_energi", " (did you mean 'dft_energy'?)"),
        ("DFT_ENERGY", " (did you mean 'dft_energy'?)"),
        ("zzz", ""),
    ],
)
def test_nearest_word_is_suggested_whatever_its_case(word, expected):
    assert did_you_mean(word, ["forces", "dft_energy"]) == expected
