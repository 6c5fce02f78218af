"""The method: one compiled update of a teacher and its students, and what it is made of.

Pure functions of arrays: no files, no emulators, no clock. `update` is the whole; `teachers` has
one file a paper, `distillation` the losses of students, `replay` what is learnt from.
"""
