"""A miniature of PhysioNet's Challenge 2011, release 1.0.0, for tests."""

from support.sources import beats, write_wfdb

UNREAD = (".txt", "set-a/RECORDS", "set-b/RECORDS")
AGES = ("# Age: 80 Sex: F", "# Age: 0 Sex: M", "# Age: 90 Sex: ?")


def write(root):
    records = {"set-a": ["1002603", "1002867", "1003574"], "set-b": ["1004502"]}
    for number, (part, listed) in enumerate(records.items()):
        for position, name in enumerate(listed):
            samples = beats(10 * number + position, fs=500)
            form = {"fs": 500, "suffix": ".dat", "offset": 0, "gain": "200"}
            write_wfdb(root / part, name, samples, comments=(AGES[position],), **form)
            (root / part / f"{name}.txt").write_text("0,1,2,3,4,5,6,7,8,9,10,11,12\n")
        (root / part / "RECORDS").write_text("\n".join(listed) + "\n")
    (root / "set-a" / "RECORDS-acceptable").write_text("1002603\n1002867\n")
    (root / "set-a" / "RECORDS-unacceptable").write_text("1003574\n")
