import copy
import json

import pytest

from pytest_llmeval.seal import broken_seal
from pytest_llmeval.seal import digest_verdict
from pytest_llmeval.seal import seal

from .file_target import passing_verdict


VERDICT = passing_verdict(finished_at=1.5)


def test_a_seal_is_of_all_content_under_one_key():
    sealed = seal(VERDICT, "key")

    assert broken_seal(sealed, "key") is None
    assert broken_seal(sealed, None) is None
    assert broken_seal(json.loads(json.dumps(sealed)), "key") is None
    assert "is not of this content" in str(broken_seal(sealed, "another"))
    assert "is not signed" in str(broken_seal(seal(VERDICT, None), "key"))
    assert "its digest" in str(broken_seal(VERDICT, None))
    assert seal(sealed, None) == {**VERDICT, "digest": digest_verdict(VERDICT)}
    assert digest_verdict(sealed) == digest_verdict(VERDICT)


def leaves(value, path=()):
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))
    else:
        yield path, value


@pytest.mark.parametrize("key", ["key", None])
def test_a_change_anywhere_in_a_verdict_breaks_its_seal(key):
    sealed = seal(VERDICT, key)
    for path, value in leaves(sealed):
        changed = copy.deepcopy(sealed)
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = f"{value}x" if isinstance(value, str) else "changed"
        assert broken_seal(changed, key), path


def test_who_knows_the_digest_but_not_the_key_cannot_change_a_verdict():
    sealed = seal(VERDICT, "key")
    forged = {**sealed, "commit": "c2"}
    forged["digest"] = digest_verdict(forged)

    assert broken_seal(forged, None) is None, "the limit of a digest"
    assert broken_seal(forged, "key")


@pytest.mark.parametrize("bit", [1, 0x80])
def test_one_flipped_bit_of_the_signature_breaks_it(bit):
    sealed = seal(VERDICT, "key")
    text = sealed["signature"]
    for i in (0, len(text) // 2, len(text) - 1):
        flipped = text[:i] + chr(ord(text[i]) ^ bit) + text[i + 1 :]
        assert broken_seal({**sealed, "signature": flipped}, "key")


def test_one_flipped_byte_of_the_file_is_seen_or_changes_nothing():
    content = json.dumps(seal(VERDICT, None), indent=2).encode()
    for i in range(0, len(content), 3):
        flipped = content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :]
        try:
            read = json.loads(flipped)
        except ValueError:
            continue
        assert broken_seal(read, None) or read == json.loads(content), content[i:][:20]
