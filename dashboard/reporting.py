"""`backwatch report`: figures for those who ask how well it went."""
