"""The report: `analysis` has every number, `page` and `frames` show them to readers and machines.

`figures` (drawn by `svg`), `tables`, `suites`, `prose` and `provenance` each make one kind of part;
`literature` and `ledger`, put together by `beside`, show published evidence and the claims ledger.
`words` writes a number alike in all of them; `stage` reads the tracking store and writes the files.
"""
