"""``python -m noisy_gru.pipeline``: the command line without the console script."""

from noisy_gru.pipeline.cli.main import main

if __name__ == "__main__":
    main()
