"""The landing folder: find, recognise, decompress and split files within bounds."""
