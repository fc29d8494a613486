"""Scripts, styles and pictures of the screens, with an ETag by what is in them: held by browsers, and never stale."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.api.errors import NOT_FOUND, ApiError

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file ready to send."""

    body: bytes
    kind: str
    etag: str

    @property
    def version(self) -> str:
        """A few digits of what is in it."""
        return self.etag[1:13]


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Every file by its path below `/static/`; read once, at the start."""
    return dict(_files(files("services.web").joinpath("static"), ""))


def static_address(path: str) -> str:
    """The file's address with its version, which browsers need not ask for again. Not for scripts: a module that others
    import by its plain address would be loaded twice. Raises KeyError."""
    return f"/static/{path}?v={static_files()[path].version}"


def static_routes() -> APIRouter:
    """`/static/…`."""
    found = static_files()
    router = APIRouter(include_in_schema=False)

    @router.get("/static/{path:path}")
    async def static(path: str, request: Request) -> Response:
        file = found.get(path)
        if file is None:
            raise ApiError(NOT_FOUND, "There is no such file.")
        # Without its version it is asked for again each time, and answered without a body while it is the same.
        fixed = request.query_params.get("v") == file.version
        headers = {"etag": file.etag, "cache-control": _FOR_GOOD if fixed else "no-cache"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.kind, headers=headers)

    return router


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, StaticFile]]:
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        elif (kind := _TYPES.get(entry.name.rpartition(".")[2])) is not None:
            body = entry.read_bytes()
            yield name, StaticFile(body, kind, f'"{sha256(body).hexdigest()[:32]}"')
