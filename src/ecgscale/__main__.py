"""Entry point of ``python -m ecgscale``."""

from ecgscale.cli import main

if __name__ == "__main__":
    main()
