"""One month of an invented furniture shop: who called which model, and what it cost."""
