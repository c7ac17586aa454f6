"""Labels, annotations and the gate that queued Spark applications carry, and who sets them.

Read by the webhook's decisions (`queueing`, `guarding`) and by the Spark controller.
"""

QUEUE = "fairstow.dev/spark-queue"
"""On a namespace, a label: its applications are queued, here unless they say otherwise. On an
application, an annotation: its queue."""

USER = "fairstow.dev/spark-user"
GROUPS = "fairstow.dev/spark-groups"
"""A JSON list."""
SUBMITTER = "fairstow.dev/spark-submitted-by"
"""Who made the object, where that isn't the user."""
PARENT = "fairstow.dev/spark-parent"
"""Whose run this is: KIND/NAME in the same namespace, which was queued already."""
OWN_SUSPEND = "fairstow.dev/own-suspend"
""""true": the user themselves suspended the application, so nobody else lets it go."""
ADMITTED = "fairstow.dev/spark-admitted-at"
"""When the controller let it go."""

SUBMIT_AS = "fairstow.dev/submit-as"
"""Set by a delegated submitter: the user in whose name the application runs."""
LASTING = "fairstow.dev/lasting"
"""Set by the user, "true": the application never ends."""
TEMPLATE = "fairstow.dev/spark-template"
"""Set by the user: applications of one template are expected to be alike."""
EXECUTOR_CORES = "fairstow.dev/executor-cores"
"""Set by the user of a bare driver: its executors' cores, so that their number can be capped."""
HOLD = "fairstow.dev/hold"
"""Set by anybody who may change the object, "true": it isn't let go meanwhile."""

DRIVER_UID = "fairstow.dev/spark-driver"
"""On an executor: the UID of the driver that made it, as the API server authenticated it."""

EXECUTORS = "fairstow.dev/spark-executors"
"""On a driver, "recorded": the webhook sees its executors, so those without `DRIVER_UID` may be
anybody's. Drivers of before an upgrade to that don't have it."""

RECORDED = (USER, GROUPS, SUBMITTER, PARENT, QUEUE, EXECUTORS)
"""Annotations that say whose an application is: set when it is made, never changed."""
FIXED = (*RECORDED, LASTING, TEMPLATE, SUBMIT_AS, DRIVER_UID)

GATE = "fairstow.dev/spark-queue"
"""The scheduling gate of a driver's or an executor's pod that waits."""

ROLE = "spark-role"
DRIVER, EXECUTOR = "driver", "executor"
APP = "spark-app-selector"
"""Spark's label of one application: the same on its driver and its executors."""
OPERATED = "sparkoperator.k8s.io/app-name"
"""The Spark operator's label of a driver: its SparkApplication."""
OPERATOR_GROUP = "sparkoperator.k8s.io"
APPLICATION, SCHEDULED = "SparkApplication", "ScheduledSparkApplication"

KUEUE = "kueue.x-k8s.io/queue-name"
VOLCANO = ("volcano.sh/queue-name", "scheduling.volcano.sh/queue-name")
"""Labels, Volcano's also annotations, of what others queue."""
