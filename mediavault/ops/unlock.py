"""From a repository's config and key slots to its keys; secrets are handed in by a function that asks for them."""

from collections.abc import Callable, Mapping

from mediavault.errors import IntegrityError, NotAllowedError, UnsupportedFormatError, UsageError
from mediavault.formats.config import RepositoryConfig, fingerprint
from mediavault.formats.slot import check_slot_name
from mediavault.keys.hierarchy import PlainKeys, RepositoryKeys, plain_keys
from mediavault.keys.keystore import KeyStore

SLOTS = "keys/"
"""Where slots stand in a backend."""


def known_keys(config: RepositoryConfig, config_bytes: bytes, store: KeyStore) -> RepositoryKeys | PlainKeys | None:
    """Return the keys without asking for anything; None where this computer does not know them.

    Raises:
        IntegrityError: the config is another than the one the keys belong to.
    """
    if config.suite == 0:
        return plain_keys(config.repository)
    return store.load(config.repository, fingerprint(config_bytes))


def unlock_slots(
    config: RepositoryConfig, config_bytes: bytes, slots: Mapping[str, bytes], ask: Callable[[], str]
) -> RepositoryKeys:
    """Return the keys from whichever slot opens with what `ask` returns: a passphrase, or a recovery code.

    Raises:
        NotAllowedError: nothing opens with it, or there is no slot.
        IntegrityError: nothing opens with it, and a slot is damaged, was altered or belongs elsewhere; or a slot has
            an impossible name.
        UnsupportedFormatError: nothing opens with it, and a newer version wrote a slot.
    """
    # argon2 and cryptography cost 70 ms, and keys are unlocked once on a computer
    from mediavault.keys.recovery import read_code  # noqa: PLC0415 -- see above
    from mediavault.keys.slots import unlock  # noqa: PLC0415 -- see above

    for name in slots:
        check_slot_name(name)
    if not slots:
        raise NotAllowedError(
            "This encrypted repository has no key slot: no passphrase can open it.",
            untouched="Nothing was changed.",
            hint="A computer that still has it unlocked can make one with `mediagit key add`.",
        )
    text = ask()
    mark = fingerprint(config_bytes)
    try:
        return unlock(slots, text, repository=config.repository, fingerprint=mark)
    except (NotAllowedError, IntegrityError, UnsupportedFormatError) as wrong:
        try:
            code = read_code(text)
        except UsageError:
            if not isinstance(wrong, NotAllowedError):
                raise wrong from None
            raise NotAllowedError(
                wrong.message,
                untouched="Nothing was changed.",
                hint="Try again, or enter the recovery code in its place.",
            ) from None
    return unlock(slots, code, repository=config.repository, fingerprint=mark)
