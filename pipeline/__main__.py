"""``python -m noisy_gru.pipeline``: the command line, for who starts it by its interpreter."""

from noisy_gru.pipeline.cli.main import main

if __name__ == "__main__":
    main()
