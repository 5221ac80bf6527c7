"""Every error that edgeapp raises on purpose.

Each class has a stable `code`: telemetry counts it, `docs/operations.md` says what to do about it. Make a new
class when a caller acts differently on it. A message says what was expected, what was found, and where.
"""

from __future__ import annotations


class EdgeAppError(Exception):
    """The base of all errors raised on purpose."""

    code: str = "E_INTERNAL"


class ConfigError(EdgeAppError):
    """The configuration cannot be used. One line of the text for every mistake in it."""

    code = "E_CONFIG"


class ManifestError(EdgeAppError):
    """A model folder's model.json is missing, torn, or asks for what this version does not know."""

    code = "E_MANIFEST"


class ModelError(EdgeAppError):
    """The runtime refuses the model, or the model is not what its manifest says."""

    code = "E_LOAD"


class ModelStateError(EdgeAppError):
    """A command about models does not fit what is loaded; nothing was changed."""

    code = "E_STATE"


class CaptureError(EdgeAppError):
    """The source gives no frames: unplugged, refused, ended. Expected; the caller backs off and reopens."""

    code = "E_CAMERA"


class ProtocolError(EdgeAppError):
    """What came over the socket between vision and control is not a message of theirs."""

    code = "E_PROTOCOL"


class VisionLostError(EdgeAppError):
    """The vision process is lost; control starts it again.

    `cause` is one of died, silent, stalled, nonsense, refused, unreachable; telemetry counts them. `is_camera` says
    that what stalled is the camera and not the inference.
    """

    code = "E_VISION"

    def __init__(self, cause: str, text: str, *, is_camera: bool = False) -> None:
        super().__init__(text)
        self.cause, self.is_camera = cause, is_camera


class SpoolError(EdgeAppError):
    """The spool cannot keep a report: disk full, read-only, or its file is torn."""

    code = "E_SPOOL"


class AlreadyRunningError(EdgeAppError):
    """Another edgeapp holds this state directory."""

    code = "E_ALREADY_RUNNING"


class FetchError(EdgeAppError):
    """A file that set-up needs could not be had, or is not the pinned one."""

    code = "E_FETCH"


class ConvertError(EdgeAppError):
    """A graph holds something that the converter does not know."""

    code = "E_CONVERT"


class CommandError(EdgeAppError):
    """A command cannot be made, signed or sent as asked; nothing was sent unless the text says so."""

    code = "E_COMMAND"


class RolloutError(EdgeAppError):
    """A rollout's plan contradicts itself, or what is asked of it does not fit where it stands."""

    code = "E_ROLLOUT"


class BrokerError(EdgeAppError):
    """The operator's tool cannot reach the broker, or may not do there what it has to."""

    code = "E_BROKER"


class KeyringError(EdgeAppError):
    """A signing key is missing, in the way, or its passphrase is wrong."""

    code = "E_KEYRING"


class ReleaseError(EdgeAppError):
    """A release, or the repository of releases, cannot be made, signed or published as asked."""

    code = "E_RELEASE"


class LabelsError(EdgeAppError):
    """The labels that accuracy is to be measured with cannot be used, or their frames are not there."""

    code = "E_LABELS"


class ProfileError(EdgeAppError):
    """A model could not be profiled: its process ended early, or the folder of frames gives nothing."""

    code = "E_PROFILE"


class AimError(EdgeAppError):
    """`edgeapp aim` cannot begin, or cannot do what its page asks; nothing was changed."""

    code = "E_AIM"
