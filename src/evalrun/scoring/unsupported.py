"""Why a model is left to lm-eval's own path."""


class UnsupportedError(Exception):
    """A model does something that sharing cannot reproduce; the message says what, as "its ..."."""
