"""perplex-mono: a private answer engine for your own documents, in one process."""

__version__ = "0.1.0"
