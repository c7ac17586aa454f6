"""Carrying a plan out: what to do next, as a pure function of the plan and the cluster as it is.

`turn.decide` is one turn of the state machine, `progress` tells how far the step under way is,
`objections` whether what is left of the plan still holds. Called by `controllers.packing.plans`.
"""
