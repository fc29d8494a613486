"""The error tree of the models package."""


class ModelsError(Exception):
    """Base of every error the models package raises."""


class RegistryError(ModelsError):
    """A model version cannot be saved, found or trusted."""


class ManifestInvalid(RegistryError):
    """The manifest of a model version is missing, unreadable or incomplete."""


class VersionUnknown(RegistryError):
    """The registry holds no such model version."""


class ChecksumMismatch(RegistryError):
    """A file of a model version is not the one that was registered."""


class SchemaHashMismatch(RegistryError):
    """The columns of a manifest are not the columns its schema hash was made of."""


class ArtifactUnreadable(RegistryError):
    """The model file of a version cannot be turned into a scorer."""


class ArchiveDamaged(ModelsError):
    """A file of the archive is not what the archiver wrote."""


class EvidenceUnreadable(ModelsError):
    """What is stored of online evidence is none."""


class MatrixRefused(ModelsError):
    """A scorer was handed a matrix of another width than the schema it was fitted on."""


class TrainingRefused(ModelsError):
    """The examples do not allow a model to be fitted that could be trusted."""


class EvaluationRefused(ModelsError):
    """A measure is not defined on these observations."""
