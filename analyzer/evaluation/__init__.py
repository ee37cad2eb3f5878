"""What past signals were worth: their values against the prices that followed.

`prices.py`: what followed each; `statistics.py`: hit rate, mean return, information coefficient, and how sure they are;
`evaluate.py`: reads both and puts them together.
"""
