"""The steps of each run, in order: what happens is read here, how it happens in the nouns beside this folder."""
