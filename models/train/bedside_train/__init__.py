"""Training of bedside's edge student: a small network with BiomedParse's structure."""
