"""What the page on identity says around its tables."""
def page(rows): return ""
