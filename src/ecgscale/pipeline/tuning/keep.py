"""What a search wrote, kept by DVC."""

import logging
import os
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)


def keep(root: Path, objective: str) -> None:
    """Have DVC keep the folder of a search: ``dvc add results/tune/<objective>``.

    A search is no stage of dvc.yaml: ``dvc pull`` would ask every clone for the outputs of a stage
    that nobody ran, and ``dvc status`` would call it changed. The small ``.dvc`` file that is
    written in its place is committed with dvc.lock. Without DVC's project, or where DVC is busy,
    nothing is kept, and the second is said.
    """
    if not (root / ".dvc").is_dir():
        return
    place = f"results/tune/{objective}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--quiet", place],
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[0]
        log.warning("DVC does not keep %s (%s): `dvc add %s` does", place, said, place)
