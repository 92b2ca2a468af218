"""Adapters on the Hugging Face hub: ``hf://user/name[@revision]``."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.records import short

SCHEME = "hf://"
FILE = "adapter.safetensors"  # name of an adapter's file in its repository
_TIMEOUT = 10.0  # seconds
# Errors of the cache's files; those of connections are OSErrors too.
_OF_FILES = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(rf"{SCHEME}({_REPOSITORY})(?:@([\w./-]+))?", re.ASCII)


def local_file(path: str | Path) -> Path:
    """The path itself, or, for ``hf://user/name[@revision]``, of the file downloaded from the hub.

    A file that was downloaded before is used if the hub cannot be reached, or HF_HUB_OFFLINE is 1.

    Raises:
        CraftZooError: the address is malformed, the extra ``hub`` is missing, or the file cannot be
            downloaded.
    """
    if not isinstance(path, str) or not path.startswith(SCHEME):
        return Path(path)
    found = _ADDRESS.fullmatch(path)
    if found is None:
        raise CraftZooError(
            f"{short(path)} is no address of an adapter: {SCHEME}user/name[@revision]"
        )
    with needs_extra("hub", f"the adapter {path}"):
        from huggingface_hub import hf_hub_download
    with _one_sentence(f"the adapter {path} cannot be downloaded"):
        name, revision = found.groups()
        kept = not _answers(name)  # hf_hub_download would try again for half a minute
        return Path(hf_hub_download(name, FILE, revision=revision, local_files_only=kept))


def _answers(repository: str) -> bool:
    """Whether the hub answers a question about a repository, if only with an error."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(repository, timeout=_TIMEOUT)
    except HfHubHTTPError:
        return True
    except Exception:  # its class depends on the version of huggingface_hub
        return False
    return True


def upload(files: Mapping[str, bytes], repository: str, *, private: bool = False) -> str:
    """Write files to a repository of models in one commit, so that all or none of them are there.

    Args:
        files: content by name; files of these names are replaced, others stay.
        repository: ``user/name``; created if it does not exist.
        private: whether a new repository is private.

    Returns:
        Address of the commit.

    Raises:
        CraftZooError: the name is malformed, the extra ``hub`` is missing, there is no token, or
            the hub does not accept the files.
    """
    if re.fullmatch(_REPOSITORY, repository, re.ASCII) is None:
        raise CraftZooError(f"{short(repository)} is no name of a repository: write user/name")
    with needs_extra("hub", "pushing to the Hugging Face hub"):
        from huggingface_hub import CommitOperationAdd, HfApi, get_token
    if get_token() is None:
        raise CraftZooError(
            "the Hugging Face hub accepts files only with a token: set HF_TOKEN, or run 'hf auth "
            "login'"
        )
    with _one_sentence(f"{repository} cannot be written, and nothing was uploaded"):
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        added = [CommitOperationAdd(name, content) for name, content in files.items()]
        return hub.create_commit(repository, added, commit_message="Add adapter").commit_url


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Turn an error of the hub's client into a sentence that begins with ``what``."""
    from huggingface_hub import errors

    try:
        yield
    except Exception as error:  # the client and its HTTP library raise many types
        response = getattr(error, "response", None)
        status = None if response is None else response.status_code
        if isinstance(error, errors.RevisionNotFoundError):
            why, mend = "there is no such revision", "check what follows the @"
        elif isinstance(error, errors.RemoteEntryNotFoundError):
            why, mend = f"the repository has no {FILE}", "name one that craft-zoo push has written"
        elif isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
            why = "there is no such repository, or your token does not give access to it"
            mend = "check the name, and the token in HF_TOKEN or of 'hf auth login'"
        elif isinstance(error, OSError) and error.errno in _OF_FILES:
            why = f"the cache of the Hugging Face hub cannot be written ({error.strerror})"
            mend = "free disk space, or name a folder that you may write to in HF_HOME"
        elif status is None and isinstance(error, (OSError, errors.HTTPError)):
            why = "the Hugging Face hub cannot be reached"
            mend = "check the network, and HF_ENDPOINT and HF_HUB_OFFLINE if they are set"
        else:
            why = (str(error) or type(error).__name__).splitlines()[0]
            mend = "try again later, or ask the hub's owner"
        raise CraftZooError(f"{what}, as {why}: {mend}") from None
