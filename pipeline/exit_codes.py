"""Exit codes of ``noisy-gru``."""

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_REFUSED = 3
EXIT_UNUSED_INPUT = 4
EXIT_NOT_DUE = 6
EXIT_HELD = 7
# sysexits.h: EX_TEMPFAIL, try again later.
EXIT_BUSY = 75
EXIT_INTERRUPTED = 130
