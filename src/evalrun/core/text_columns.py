"""The type of a table's columns of text."""

from __future__ import annotations

import math

import pandas as pd

# Equal texts are one object, of which a row is a pointer; pandas' own type, Arrow's, holds each row's letters again.
TEXT = pd.StringDtype("python", na_value=math.nan)
