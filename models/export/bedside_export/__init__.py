"""Export BiomedParse v1: checkpoint in, encoder, decoder and text graphs out."""

LICENCE = "CC-BY-NC-SA-4.0"  # of Microsoft's weights, and of what is made of them
