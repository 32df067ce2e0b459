"""The published figures on padding aware neurons, beside those of audits."""
