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
with DaemonSets) would hold no block even when empty. It is a rule of thumb: a pod that asks for
more than that may not fit a block.

**Who moves where.** Running pods that may be moved, at most N; each one stays on nodes of the
product it runs on (an H100 is no T4, though both are called nvidia.com/gpu). Nobody is evicted for
good, no pending pod is placed. Free blocks are counted as if nobody waited: whoever waits may take
them, which is the scheduler's business or that of a plan with the goal Place.

**Objective.** Blocks of the largest size, then of the next, …, then least cost (`cost`: the moves
and the work they lose); lexicographic.
Sizes are powers of two up to the largest node's devices. A size counts over all products of an
accelerator; sizes of several accelerators come in the order (size, name).

**Model.** `problem` has x[g,n], its room and departures. On top, per node and size, a ladder of
Booleans z[n,s,1] ≥ z[n,s,2] ≥ …: z[n,s,k] says that k blocks are free. With T[k] the least room
for k blocks in units of the problem (rounded up, what the units cut off given back),

    Σ_g request[g,r]·x[g,n] + Σ_k max(0, T[k]) − max(0, T[k−1])) · z[n,s,k] ≤ free[n,r].

**Fewest departures.** For k blocks, at least m[n,s,k] pods must leave n: for each resource the
largest ones first until their sum is what is missing, and the most over the resources. It makes
the model tight (departures of n ≥ m·z), and by itself gives the bound for clusters too large for
the model: choose blocks for each node such that Σ_n departures ≤ N and that, per product, the room
on nodes is no more than is free now, for moves inside a product keep that sum (`counting`).

**Search.** As for placements: an incumbent of its own from the current placement on (`greedy`),
then CP-SAT on a few nodes at a time, then on the whole cluster where it is small enough
(`search`). Never worse than now. The steps are those of `schedule`; it is cut after the step at
which most is won, so a plan whose way is barred by disruption budgets has no useless moves.
"""
