"""What the chart's Grafana dashboards show: a table of boards, rows and panels.

Read by `dashboards`, which makes Grafana's JSON of it, and by tests/monitoring.
"""

from dataclasses import dataclass

_EVERY = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """Attributes: expression: in PromQL with Grafana's variables; legend: `{{label}}` and text."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A graph. Attributes: says: what it shows and what is well; unit: of Grafana's; stacked."""

    title: str
    says: str
    unit: str
    queries: tuple[Query, ...]
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Some panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard. Attributes: variables: label by variable and the metric that has its values."""

    uid: str
    title: str
    says: str
    variables: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def _increase(metric: str, labels: str, where: str = "") -> Query:
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in labels.split(","))
    return Query(f"sum by ({labels}) (increase({metric}{where}[{_EVERY}]))", legend)


def _quantiles(metric: str, by: str, where: str = "") -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{where}[{_EVERY}])))",
            f"{{{{{by}}}}} {name}",
        )
        for q, name in ((0.5, "median"), (0.99, "99 %"))
    )


_POOL = '{pool=~"$pool"}'
_POLICY = '{policy=~"$policy"}'


def _of_pool(state: str) -> str:
    return f'max by (pool) (fairstow_packing_pool_gpus{{pool=~"$pool",state="{state}"}})'


def _most(metric: str, labels: str, where: str) -> str:
    """Return a gauge that only the acting replica sets, whichever that was."""
    return f"max by ({labels}) ({metric}{where})"


PACKING = Board(
    uid="fairstow-packing",
    title="Fairstow: packing",
    says="Pools, what policies decide, and what became of their plans.",
    variables=(
        ("pool", "fairstow_packing_pool_gpus"),
        ("policy", "fairstow_packing_runs_total"),
    ),
    rows=(
        Row(
            "Pools",
            (
                Panel(
                    "GPUs allocated",
                    "Share of the pool's GPUs that pods hold.",
                    "percentunit",
                    (Query(f"{_of_pool('allocated')} / {_of_pool('total')}",
                           "{{pool}}"),),
                ),
                Panel(
                    "GPUs free, and the largest block of them",
                    "Many free and a small block: the room is in the wrong places.",
                    "short",
                    (Query(_of_pool("free"), "{{pool}} free"),
                     Query(_most("fairstow_packing_pool_largest_free_block", "pool", _POOL),
                           "{{pool}} largest block on a node")),
                ),
                Panel(
                    "Free GPUs that typical pods can't use where they are",
                    "The fragmentation gradient's measure; 0 is well.",
                    "percentunit",
                    (Query(_most("fairstow_packing_pool_fragmentation_ratio", "pool", _POOL),
                           "{{pool}}"),),
                ),
                Panel(
                    "Pending pods by reason",
                    "Fragmented: all nodes together have the room, none has it alone.",
                    "short",
                    (Query(_most("fairstow_packing_pool_pending_pods", "pool, reason", _POOL),
                           "{{pool}} {{reason}}"),),
                    stacked=True,
                ),
                Panel(
                    "Nodes",
                    "Closed: cordoned, not Ready, or being removed.",
                    "short",
                    (Query(_most("fairstow_packing_pool_nodes", "pool, state", _POOL),
                           "{{pool}} {{state}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Decisions",
            (
                Panel(
                    "Runs by outcome",
                    "What came of each look for a better placement; docs/reference/reasons.md.",
                    "short",
                    (_increase("fairstow_packing_runs_total", "outcome", _POLICY),),
                    stacked=True,
                ),
                Panel(
                    "Time of a run, from snapshot to outcome",
                    "Bounded by the policy's window and what it takes to write the outcome.",
                    "s",
                    _quantiles("fairstow_packing_run_seconds", "policy", _POLICY),
                ),
                Panel(
                    "Time of the planner",
                    "For one question, formulation and ordering included.",
                    "s",
                    _quantiles("fairstow_packing_solve_seconds", "policy", _POLICY),
                ),
                Panel(
                    "Gap of the last answer",
                    "Pods that might be placed beyond it; 0 is proved optimal.",
                    "short",
                    (Query(_most("fairstow_packing_gap_pods", "policy", _POLICY), "{{policy}}"),),
                ),
                Panel(
                    "What plans contain",
                    "Placements for moves: what packing costs and what it brings.",
                    "short",
                    (_increase("fairstow_packing_planned_total", "change", _POLICY),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Execution",
            (
                Panel(
                    "Plans that ended, by reason",
                    "Succeeded, or why they were given up.",
                    "short",
                    (_increase("fairstow_packing_plans_ended_total", "reason"),),
                    stacked=True,
                ),
                Panel(
                    "Evictions asked for",
                    "Refused: by a disruption budget; the plan waits and asks again.",
                    "short",
                    (_increase("fairstow_packing_evictions_total", "kind, outcome"),),
                    stacked=True,
                ),
                Panel(
                    "From unschedulable to a node",
                    "Of pods that a plan under way gave a node, its approval included.",
                    "s",
                    _quantiles("fairstow_packing_wait_seconds", "policy", _POLICY),
                ),
                Panel(
                    "From a plan's creation to its end",
                    "By what came of it; time in which it waited for approval is in it.",
                    "s",
                    _quantiles("fairstow_packing_plan_seconds", "reason", _POLICY),
                ),
                Panel(
                    "Pods for which room is kept",
                    "Until they arrive; nobody else gets it meanwhile.",
                    "short",
                    (Query("max(fairstow_packing_reservations)", "not arrived yet"),),
                ),
                Panel(
                    "Room given up",
                    "Before its pod arrived, by why the plan was given up.",
                    "short",
                    (_increase("fairstow_packing_reservations_expired_total", "reason"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Operator",
            (
                Panel(
                    "Age of what it knows",
                    "Time since the API server last said something about nodes or pods.",
                    "s",
                    (Query("max(fairstow_packing_snapshot_age_seconds)", "nodes or pods"),),
                ),
                Panel(
                    "Age of each watch",
                    "Of a quiet kind a minute: bookmarks come no oftener.",
                    "s",
                    (Query("max by (kind) (fairstow_packing_watch_age_seconds)", "{{kind}}"),),
                ),
                Panel(
                    "Changes taken in",
                    "Of pods, nodes and what else decides where pods run; each costs the same.",
                    "reqps",
                    (Query(f"sum by (kind) (rate(fairstow_packing_changes_total[{_EVERY}]))",
                           "{{kind}}"),),
                ),
                Panel(
                    "Turns that failed",
                    "Each is tried again; the log says why.",
                    "short",
                    (_increase("fairstow_packing_turn_failures_total", "controller"),),
                    stacked=True,
                ),
            ),
        ),
    ),
)  # fmt: skip

EXTENDER = Board(
    uid="fairstow-extender",
    title="Fairstow: scheduler extender",
    says="How fast schedulers are answered, and which room is kept for plans.",
    variables=(),
    rows=(
        Row(
            "Answers",
            (
                Panel(
                    "Time to answer",
                    "The scheduler waits for it with every pod; below 5 ms is well.",
                    "s",
                    _quantiles("fairstow_extender_request_seconds", "verb"),
                ),
                Panel(
                    "Calls",
                    "One filter call per pod at the most: none where no node or one is feasible.",
                    "reqps",
                    (Query("sum by (verb) (rate(fairstow_extender_request_seconds_count"
                           f"[{_EVERY}]))", "{{verb}}"),),
                ),
                Panel(
                    "Calls that weren't a scheduler's",
                    "Should be none.",
                    "short",
                    (_increase("fairstow_extender_refused_requests_total", "verb"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Room kept for plans",
            (
                Panel(
                    "Pods for which room is kept",
                    "The same on all replicas; 0 while no plan is under way.",
                    "short",
                    (
                        Query("fairstow_extender_reservations", "{{instance}}: plans"),
                        Query("fairstow_extender_spark_reservations", "{{instance}}: Spark"),
                    ),
                ),
                Panel(
                    "Plans enforced",
                    "The operator evicts nobody before all replicas enforce a plan.",
                    "short",
                    (Query("fairstow_extender_enforced_plans", "{{instance}}"),),
                ),
                Panel(
                    "Room no longer kept as the operator was silent",
                    "Its Lease ran out while plans were under way; each replica counts.",
                    "short",
                    (_increase("fairstow_extender_expired_reservations_total", "instance"),),
                ),
                Panel(
                    "Nodes taken from pods, by reason",
                    "Because their room is kept for somebody else.",
                    "short",
                    (_increase("fairstow_extender_filtered_nodes_total", "reason"),),
                    stacked=True,
                ),
                Panel(
                    "Pods sent to their node, preemptions refused",
                    "Because a plan under way serves the pod.",
                    "short",
                    (Query(f"sum(increase(fairstow_extender_steered_pods_total[{_EVERY}]))",
                           "sent"),
                     Query("sum(increase(fairstow_extender_vetoed_preemptions_total"
                           f"[{_EVERY}]))", "preemptions refused")),
                ),
            ),
        ),
        Row(
            "What it knows",
            (
                Panel(
                    "Age of its watches",
                    "Time since the API server last said something, the longest of all watches.",
                    "s",
                    (Query("fairstow_extender_watch_age_seconds", "{{instance}}"),),
                ),
                Panel(
                    "Pods answered for and not yet seen bound",
                    "Small and not growing.",
                    "short",
                    (Query("fairstow_extender_assumptions", "{{instance}}"),),
                ),
                Panel(
                    "Age of the typical pods",
                    "By which fragmentation is scored.",
                    "s",
                    (Query("fairstow_extender_snapshot_age_seconds", "{{instance}}"),),
                ),
            ),
        ),
    ),
)  # fmt: skip

WEBHOOK = Board(
    uid="fairstow-webhook",
    title="Fairstow: webhook",
    says="What the API server asked, and what it was told.",
    variables=(),
    rows=(
        Row(
            "Reviews",
            (
                Panel(
                    "Reviews by outcome",
                    "Failed: the API server couldn't be asked; refused: it was no review.",
                    "short",
                    (_increase("fairstow_webhook_reviews_total", "path, outcome"),),
                    stacked=True,
                ),
                Panel(
                    "Time to answer",
                    "Whoever changes a plan, or makes a pod where the webhook is on, waits for it.",
                    "s",
                    _quantiles("fairstow_webhook_review_seconds", "path"),
                ),
            ),
        ),
    ),
)

SERVING = Board(
    uid="fairstow-serving",
    title="Fairstow: serving",
    says="Engines and requests of each ServingPool, and how drains end.",
    variables=(("pool", "fairstow_serving_pool_instances"),),
    rows=(
        Row(
            "Pools",
            (
                Panel(
                    "Instances",
                    "All should be ready; those that drain hand their requests over.",
                    "short",
                    (Query('fairstow_serving_pool_instances{pool=~"$pool"}',
                           "{{pool}} {{state}}"),),
                ),
                Panel(
                    "Requests",
                    "Parked ones wait in the gateways: no instance has room.",
                    "short",
                    (Query('fairstow_serving_pool_requests{pool=~"$pool"}', "{{pool}} {{phase}}"),),
                    stacked=True,
                ),
                Panel(
                    "Gateways",
                    "A silent one may have requests that nobody knows of, and drains wait for it.",
                    "short",
                    (Query('fairstow_serving_pool_gateways{pool=~"$pool"}', "{{pool}} {{state}}"),),
                ),
                Panel(
                    "Freeness",
                    "Decode steps for which the free memory lasts; scaling keeps it in bounds.",
                    "short",
                    (Query('fairstow_serving_pool_freeness_steps{pool=~"$pool"}', "{{pool}}"),),
                ),
                Panel(
                    "Replicas that scaling asks for",
                    "Nothing where the pool isn't scaled by Fairstow.",
                    "short",
                    (Query('fairstow_serving_pool_desired_replicas{pool=~"$pool"}', "{{pool}}"),),
                ),
                Panel(
                    "What scaling did",
                    "WrongPodRemoved: the workload removed another pod than the drained one.",
                    "short",
                    (_increase("fairstow_serving_scaled_total", "pool, reason",
                               '{pool=~"$pool"}'),),
                    stacked=True,
                ),
                Panel(
                    "Moves proposed to gateways",
                    "What was declined was out of date by then, or as much as may moved already.",
                    "short",
                    (_increase("fairstow_serving_proposed_moves_total", "pool, outcome",
                               '{pool=~"$pool"}'),),
                    stacked=True,
                ),
                Panel(
                    "Drains by how they ended",
                    "DeadlineOver: requests that can't be moved were cut off with their instance.",
                    "short",
                    (_increase("fairstow_serving_drains_ended_total", "pool, reason",
                               '{pool=~"$pool"}'),),
                    stacked=True,
                ),
            ),
        ),
    ),
)  # fmt: skip

GATEWAYS = Board(
    uid="fairstow-gateways",
    title="Fairstow: gateways",
    says="What clients of LLM engines get, and what it costs them that their requests move.",
    variables=(),
    rows=(
        Row(
            "Clients",
            (
                Panel(
                    "Requests that ended",
                    "By HTTP status; 499: the client left first.",
                    "reqps",
                    (Query(f"sum by (status) (rate(fairstow_gateway_requests_total[{_EVERY}]))",
                           "{{status}}"),),
                    stacked=True,
                ),
                Panel(
                    "Streams cut off",
                    "They had begun and ended with an error. Should be none.",
                    "short",
                    (_increase("fairstow_gateway_cut_streams_total", "job"),),
                ),
                Panel(
                    "Time to first text",
                    "From a request's arrival; waiting for room included.",
                    "s",
                    _quantiles("fairstow_gateway_first_token_seconds", "job"),
                ),
                Panel(
                    "Time to the end",
                    "From a request's arrival to its last byte.",
                    "s",
                    _quantiles("fairstow_gateway_request_seconds", "job"),
                ),
                Panel(
                    "Tokens of requests that ended",
                    "Prompts' and generated ones, by tenant.",
                    "short",
                    (Query("sum by (tenant, kind) (rate(fairstow_gateway_tokens_total"
                           f"[{_EVERY}]))", "{{tenant}} {{kind}}"),),
                    stacked=True,
                ),
                Panel(
                    "Requests refused for a limit",
                    "Of their tenant, or of the queue.",
                    "short",
                    (_increase("fairstow_gateway_limited_requests_total", "tenant, limit"),),
                    stacked=True,
                ),
                Panel(
                    "Requests that can't be moved",
                    "A drain waits for them; the ledger says why each one is pinned.",
                    "short",
                    (_increase("fairstow_gateway_pinned_requests_total", "tenant"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Moves",
            (
                Panel(
                    "Moves by how they ended",
                    "Moved, or why the request stayed; Finished: it ended before.",
                    "short",
                    (_increase("fairstow_gateway_moves_total", "outcome"),),
                    stacked=True,
                ),
                Panel(
                    "Pause of a move",
                    "Time without a token for the client.",
                    "s",
                    _quantiles("fairstow_gateway_move_pause_seconds", "job"),
                ),
                Panel(
                    "Requests started anew, or paused",
                    "Their engine was lost; or they gave their place up to more urgent ones.",
                    "short",
                    (Query(f"sum(increase(fairstow_gateway_resumed_requests_total[{_EVERY}]))",
                           "engine lost"),
                     Query(f"sum(increase(fairstow_gateway_paused_requests_total[{_EVERY}]))",
                           "paused")),
                ),
                Panel(
                    "Pairs of engines that failed the probe",
                    "Should hand memory over; requests between them are computed again.",
                    "short",
                    (Query("max by (job) (fairstow_gateway_failed_engine_pairs)", "{{job}}"),),
                ),
            ),
        ),
        Row(
            "Engines",
            (
                Panel(
                    "Engines by state",
                    "As each replica sees them.",
                    "short",
                    (Query("max by (job, state) (fairstow_gateway_engines)",
                           "{{job}} {{state}}"),),
                ),
                Panel(
                    "Requests on each engine",
                    "Of all replicas.",
                    "short",
                    (Query("sum by (engine) (fairstow_gateway_running_requests)", "{{engine}}"),),
                    stacked=True,
                ),
                Panel(
                    "Replicas that exchange their loads",
                    "The others of the pool, as each replica sees them.",
                    "short",
                    (Query("fairstow_gateway_peers", "{{instance}}"),),
                ),
                Panel(
                    "Requests in the queue",
                    "No engine has room for them.",
                    "short",
                    (Query("sum by (job) (fairstow_gateway_waiting_requests)", "{{job}}"),),
                    stacked=True,
                ),
            ),
        ),
    ),
)  # fmt: skip

_CACHE = '{cache=~"$cache"}'

CACHES = Board(
    uid="fairstow-caches",
    title="Fairstow: semantic caches",
    says="What is answered from memory, whether it pays, and how many of the answers are wrong.",
    variables=(("cache", "fairstow_cache_pods"),),
    rows=(
        Row(
            "Caches",
            (
                Panel(
                    "Pods",
                    "Missed ones run without the sidecar; silent ones have it and don't answer.",
                    "short",
                    (Query(f"fairstow_cache_pods{_CACHE}", "{{cache}} {{state}}"),),
                ),
                Panel(
                    "Semantic tier",
                    "1: on. 0: a category has switched it off, since its hit rate doesn't pay.",
                    "short",
                    (Query(f"fairstow_cache_semantic_tier{_CACHE}", "{{cache}} {{category}}"),),
                ),
                Panel(
                    "Pods made anew",
                    "Evictions of missed pods, where the cache asks for them.",
                    "short",
                    (
                        _increase("fairstow_cache_recreated_total", "cache, outcome", _CACHE),
                        _increase("fairstow_cache_unknown_categories_total", "named"),
                    ),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Requests, of the sidecars that are scraped",
            (
                Panel(
                    "Requests by result",
                    "shadow: would have been a semantic hit.",
                    "reqps",
                    (Query("sum by (job, result) (rate(fairstow_cache_lookups_total"
                           f"[{_EVERY}]))", "{{job}} {{result}}"),),
                    stacked=True,
                ),
                Panel(
                    "Hit rate against break-even",
                    "Under its break-even a category's semantic tier switches itself off.",
                    "percentunit",
                    (
                        Query("avg by (category) (fairstow_cache_hit_rate)", "{{category}}"),
                        Query("avg by (category) (fairstow_cache_break_even_hit_rate)",
                              "{{category}} break-even"),
                    ),
                ),
                Panel(
                    "Wrong hits, at most",
                    "By the labels so far, at 95 %; in Enforce it should be under the budget.",
                    "percentunit",
                    (Query("max by (category) (fairstow_cache_wrong_hits_at_most)",
                           "{{category}}"),),
                ),
                Panel(
                    "Labels",
                    "Hits whose answer was compared with the upstream's.",
                    "short",
                    (_increase("fairstow_cache_labels_total", "category, label"),),
                    stacked=True,
                ),
                Panel(
                    "Threshold and load",
                    "Load lowers a threshold as far as its category lets it, never its budget.",
                    "short",
                    (
                        Query("avg by (category) (fairstow_cache_threshold)", "{{category}}"),
                        Query("max by (job) (fairstow_cache_load)", "{{job}} load"),
                    ),
                ),
                Panel(
                    "Similarity",
                    "Of the nearest entry, or the one served.",
                    "short",
                    _quantiles("fairstow_cache_similarity", "category"),
                ),
                Panel(
                    "Time of each part",
                    "embed, search, decide and fetch are what a look-up adds.",
                    "s",
                    _quantiles("fairstow_cache_stage_seconds", "stage"),
                ),
                Panel(
                    "Tokens saved",
                    "Of answers that were served from memory.",
                    "short",
                    (_increase("fairstow_cache_saved_tokens_total", "category"),),
                    stacked=True,
                ),
                Panel(
                    "Answers awaited together",
                    "Requests that listened to another's answer while it came.",
                    "short",
                    (_increase("fairstow_cache_shared_flights_total", "job"),),
                ),
            ),
        ),
        Row(
            "Entries",
            (
                Panel(
                    "Entries",
                    "Kept by all sidecars, and of the tenant that has most in a category.",
                    "short",
                    (
                        Query("sum by (job) (fairstow_cache_entries)", "{{job}}"),
                        Query("max by (category) (fairstow_cache_entries_of_fullest_tenant)",
                              "{{category}} fullest tenant"),
                    ),
                ),
                Panel(
                    "Kept",
                    "Answers that were stored.",
                    "short",
                    (_increase("fairstow_cache_stored_total", "category"),),
                    stacked=True,
                ),
                Panel(
                    "Not kept",
                    "By reason; store and busy: the store is slow, full or away.",
                    "short",
                    (_increase("fairstow_cache_not_stored_total", "reason"),),
                    stacked=True,
                ),
                Panel(
                    "Removed",
                    "By reason; complained: an owner said that the answer was wrong.",
                    "short",
                    (_increase("fairstow_cache_removed_total", "reason"),),
                    stacked=True,
                ),
                Panel(
                    "Failed open",
                    "Look-ups that a fault or their deadline ended: the request was forwarded.",
                    "short",
                    (_increase("fairstow_cache_failed_open_total", "job, reason"),),
                    stacked=True,
                ),
            ),
        ),
    ),
)  # fmt: skip

_SPARK = '{queue=~"$queue"}'

SPARK = Board(
    uid="fairstow-spark",
    title="Fairstow: Spark queues",
    says="Who waits and who has cores in queues of Spark applications, and whether that is fair.",
    variables=(("queue", "fairstow_spark_queue_applications"),),
    rows=(
        Row(
            "Queues",
            (
                Panel(
                    "Applications",
                    "Those that wait, run, or were missed by the webhook.",
                    "short",
                    (
                        Query(
                            _most("fairstow_spark_queue_applications", "queue, state", _SPARK),
                            "{{queue}} {{state}}",
                        ),
                    ),
                ),
                Panel(
                    "Cores",
                    "In all, in use or kept for pods; of those reserved and borrowed.",
                    "short",
                    (
                        Query(
                            _most("fairstow_spark_queue_cores", "queue, state", _SPARK),
                            "{{queue}} {{state}}",
                        ),
                    ),
                ),
                Panel(
                    "Let go, by reason",
                    "WaitedTooLong should not occur: the queue was too full for spec.maxWait.",
                    "short",
                    (_increase("fairstow_spark_released_total", "queue, reason", _SPARK),),
                    stacked=True,
                ),
                Panel(
                    "Executors held and taken back",
                    "They wait for cores; those on borrowed ones end when the lender needs them.",
                    "short",
                    (
                        Query(
                            _most("fairstow_spark_queue_held_executors", "queue", _SPARK),
                            "{{queue}} held",
                        ),
                        _increase("fairstow_spark_reclaimed_total", "queue, outcome", _SPARK),
                    ),
                ),
                Panel(
                    "Wait until let go",
                    "Of applications that were let go.",
                    "s",
                    _quantiles("fairstow_spark_wait_seconds", "queue", _SPARK),
                ),
                Panel(
                    "Longest wait now",
                    "Of those that wait; what its user suspended isn't counted.",
                    "s",
                    (
                        Query(
                            _most("fairstow_spark_queue_longest_wait_seconds", "queue", _SPARK),
                            "{{queue}}",
                        ),
                    ),
                ),
                Panel(
                    "Slowdown",
                    "Time from creation to end over the time that it ran.",
                    "short",
                    _quantiles("fairstow_spark_slowdown_ratio", "queue", _SPARK),
                ),
            ),
        ),
        Row(
            "Users",
            (
                Panel(
                    "Share of the cores in use",
                    "Compare with what weights entitle to; shares add up to 1 in each queue.",
                    "percentunit",
                    (
                        Query(
                            _most("fairstow_spark_user_share_ratio", "queue, user", _SPARK),
                            "{{queue}} {{user}}",
                        ),
                    ),
                ),
                Panel(
                    "Entitled to",
                    "By weight, among those who have applications here.",
                    "percentunit",
                    (
                        Query(
                            _most("fairstow_spark_user_entitled_ratio", "queue, user", _SPARK),
                            "{{queue}} {{user}}",
                        ),
                    ),
                ),
                Panel(
                    "Ended late",
                    "Applications that ended after their due, by user (deadline violations).",
                    "short",
                    (
                        _increase(
                            "fairstow_spark_due_total",
                            "queue, user",
                            '{queue=~"$queue",outcome="late"}',
                        ),
                    ),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Decisions",
            (
                Panel(
                    "Real over expected work",
                    "1 is right; an error is charged back to its user.",
                    "short",
                    _quantiles("fairstow_spark_estimate_ratio", "queue", _SPARK),
                ),
                Panel(
                    "Time to decide",
                    "For one queue.",
                    "s",
                    (
                        Query(
                            "histogram_quantile(0.99, sum by (le) "
                            f"(rate(fairstow_spark_decision_seconds_bucket[{_EVERY}])))",
                            "99 %",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

BOARDS = (PACKING, EXTENDER, WEBHOOK, SERVING, GATEWAYS, CACHES, SPARK)
