"""Defragmentation under a limit on moves: free the largest blocks of accelerators.

Who calls it: `planner.decide` for requests with the goal Defragment. Source of the setting (at most
N migrations, fewest fragments): VM rescheduling, arXiv 2505.17359. The measure differs: not a share
of fragments but whole blocks, since a pod of 8 GPUs needs 8 on one node.

**Blocks.** Node n has k free blocks of size s of accelerator a if, counting everything that stands
on it or is promised to it,

    free[n,a] ≥ k·s,   free[n,r] ≥ k·s·need[n,a,r] for r in CPU and memory,   free[n,pods] ≥ k,

and n takes pods at all (not cordoned, not closed). Without the second condition a node whose CPU
is used up would count, and no pod could use it. `need` per device is what the pods that ask for a
have on average, but at most three quarters of the node's own share, or a node with little CPU (or
with DaemonSets) would hold no block even when empty; rounded down to 0.1 CPU and 64 MiB. It is a
rule of thumb: a pod that asks for more may not fit a block.

**Who moves where.** Running pods that may be moved, at most N; each one stays on nodes of the
product it runs on (an H100 is no T4, though both are called nvidia.com/gpu). Nobody is evicted for
good, no pending pod is placed. Free blocks are counted as if nobody waited: whoever waits may take
them, which is the scheduler's business or that of a plan with the goal Place.

**Objective.** Blocks of the largest size, then of the next, …, then least cost (`cost`: the moves
and the work they lose); lexicographic. Sizes are powers of two up to the largest node's devices, or
given ones of which each divides the next. A size counts over all products of an accelerator.

**Reduction to placing.** To free a block is to place a pod that asks for what a block takes. So
each size gets *placeholders*, pending pods that exist only in the problem, of a tier of its own,
larger ones above smaller ones; the order is PlaceFirst, and the search for placements does the
rest (`fairstow.packing.search`: ejection chains, neighbourhoods, the whole cluster, bounds). It is
exact: on a node with room for x devices (the least of room over need per device over the resources)
there are ⌊x/s_i⌋ blocks of size s_i, and where s_i divides the next larger size S,

    ⌊x/s_i⌋ = (S/s_i)·⌊x/S⌋ + ⌊(x mod S)/s_i⌋:

the blocks inside larger ones, and those beside them, which is where placeholders of size s_i find
room. So with k_j placeholders of the j-th size, c_i = Σ_{j≤i} (s_j/s_i)·k_j, the lexicographic
optima agree, and a bound on k_i given k_1 … k_{i−1} is one on c_i given c_1 … c_{i−1}. (The place
among the node's pods that a block takes doesn't grow with its size. A node short of these has
fewer small blocks than the formula says; bounds stay bounds.)

**One size after the other.** The search is run for the largest size alone, then for it and the
next, each from the layout of the one before, or a better one by greed (`greedy`): under a limit, a
layout that is good for small blocks is a poor start for large ones.

**Counting bound.** For k blocks, at least m[n,s,k] pods must leave n: for each resource the largest
ones first until their sum is what is missing, and the most over the resources. Choosing blocks
for each node such that Σ_n departures ≤ N, and per product the devices of blocks are no more than
are free now (moves inside a product keep that sum), bounds the blocks of clusters of any size
(`counting`).

**Steps** are those of `schedule`, cut after the step at which most is won: a plan whose way is
barred by disruption budgets has no useless moves.
"""
