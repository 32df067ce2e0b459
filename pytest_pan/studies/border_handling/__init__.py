"""Border-handling study: whether small networks read location, by padding scheme.

Source: the red-green test of F-Conv (Kayhan & van Gemert). Lin et al. (PPP) show that it has
confounders.
"""
