"""The fields that are read of SparkAdmissions, in their form on the wire; see `wire`."""

from fairstow.cluster.wire import Int32, Metadata, Wire


class SparkAdmissionSpec(Wire):
    """fairstow.dev/v1alpha1 SparkAdmissionSpec."""

    name: str


class SparkRoom(Wire):
    """fairstow.dev/v1alpha1 SparkRoom."""

    node: str
    owner: str
    pods: Int32
    requests: dict[str, str | int]


class SparkReservation(Wire):
    """fairstow.dev/v1alpha1 SparkReservation."""

    until: str
    rooms: list[SparkRoom]


class SparkAdmissionStatus(Wire):
    """fairstow.dev/v1alpha1 SparkAdmissionStatus."""

    reservation: SparkReservation | None = None


class SparkAdmission(Wire):
    """fairstow.dev/v1alpha1 SparkAdmission."""

    metadata: Metadata
    spec: SparkAdmissionSpec
    status: SparkAdmissionStatus | None = None
