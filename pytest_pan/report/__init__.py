"""Reports as pure functions of audits; no figure is computed here, and torch is not imported."""
