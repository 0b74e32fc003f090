"""Hostile input, drawn at random for as long as one likes: nothing may happen but what is documented.

    python -m fuzz pictures --seconds 600 --seed 7

Hypothesis draws and shrinks (MacIver et al., JOSS 2019); a target says what is drawn and what must hold.
"""
