"""From a passing verdict, and nothing else, to what is live.

A deployment is refused, or planned, applied, read back, and brought back when a part of
it fails. What is live is read from the world; the books are for people, and for the
process that ends what a killed one began.
"""
