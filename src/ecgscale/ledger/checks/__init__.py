"""Every kind of check, found by the registry `ecgscale.ledger.base.checks`."""
