"""Studies: experiments that train networks of their own, outside audits."""
