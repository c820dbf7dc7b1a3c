"""Addresses of stores in etcd: what they say, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from execstore.errors import InvalidArgumentError
from execstore.etcd.address import PASSWORD_VARIABLE, Endpoint, EtcdAddress, is_etcd_address

if TYPE_CHECKING:
    from pathlib import Path


def test_what_an_address_says() -> None:
    found = EtcdAddress.parse(
        "etcd://al%40ce:p%3Aw%2F@one:1234,two,[::1]:99/lab/store/?ca=/a%20b&cert=c&key=k&timeout_seconds=1.5"
        "&max_request_bytes=8192",
        {},
    )
    assert found == EtcdAddress(
        endpoints=(Endpoint("one", 1234), Endpoint("two", 2379), Endpoint("::1", 99)),
        prefix="/lab/store",
        user="al@ce",
        password="p:w/",
        tls=True,
        ca="/a b",
        cert="c",
        key="k",
        timeout_seconds=1.5,
        max_request_bytes=8192,
    )


@pytest.mark.parametrize("text", ["etcd://h", "etcd://h/", "etcd://h:2379//"])
def test_what_is_not_said(text: str) -> None:
    assert EtcdAddress.parse(text, {}) == EtcdAddress((Endpoint("h", 2379),), "/execstore")


def test_tls_by_the_scheme_or_by_a_certificate() -> None:
    assert not EtcdAddress.parse("etcd://h/p", {}).tls
    assert EtcdAddress.parse("etcds://h/p", {}).tls
    assert EtcdAddress.parse("etcd://h/p?ca=file", {}).tls


def test_a_server_that_stands_twice_is_one() -> None:
    assert EtcdAddress.parse("etcd://h,h:2379,i/p", {}).endpoints == (Endpoint("h", 2379), Endpoint("i", 2379))


def test_a_password_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("se:cret\nmore\n")
    assert EtcdAddress.parse(f"etcd://alice@h/p?password_file={file}", {}).password == "se:cret"
    assert EtcdAddress.parse("etcd://alice@h/p", {PASSWORD_VARIABLE: "other"}).password == "other"
    assert EtcdAddress.parse("etcd://alice:own@h/p", {PASSWORD_VARIABLE: "other"}).password == "own"
    assert EtcdAddress.parse("etcd://h/p", {PASSWORD_VARIABLE: "other"}).password is None


def test_it_is_shown_without_its_password() -> None:
    address = EtcdAddress.parse("etcd://al%40ce:secret@one,two:7/a%20b?timeout_seconds=3", {})
    assert str(address) == "etcd://al%40ce@one:2379,two:7/a%20b"
    assert "secret" not in repr(address)
    assert str(EtcdAddress.parse("etcd://[::1]/p?ca=x", {})) == "etcds://[::1]:2379/p"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://h/p", "begins neither with etcd:// nor with etcds://"),
        ("etcd:///p", "a host is missing"),
        ("etcd://h,/p", "a host is missing"),
        ("etcd://h:x/p", "'x' is no port"),
        ("etcd://h:0/p", "'0' is no port"),
        ("etcd://h:65536/p", "is no port"),
        ("etcd://::1/p", "isn't in brackets"),
        ("etcd://[::1/p", "it is no address"),
        ("etcd://h/a//b", "two slashes"),
        ("etcd://h/a%00b", "can't be printed"),
        ("etcd://h/a%ff", "can't be printed, or is no UTF-8"),
        ("etcd://h/p#x", "'#'"),
        ("etcd://h/p?nonsense=1", "no option 'nonsense'; the options are ca, cert, key"),
        ("etcd://h/p?ca=a&ca=b", "the option ca stands twice"),
        ("etcd://h/p?ca=", "the option ca is empty"),
        ("etcd://h/p?x", "aren't options"),
        ("etcd://h/p?key=k", "key is given without cert"),
        ("etcd://h/p?timeout_seconds=0", "timeout_seconds is '0'"),
        ("etcd://h/p?timeout_seconds=nan", "timeout_seconds is 'nan'"),
        ("etcd://h/p?max_request_bytes=12", "max_request_bytes is '12'"),
        ("etcd://alice@h/p", f"no password; give one in password_file=… or in {PASSWORD_VARIABLE}"),
        ("etcd://:hush@h/p", "a password without a user"),
        ("etcd://alice:hush@h/p?password_file=f", "a password, and a password_file as well"),
        ("etcd://h/p?password_file=f", "a password without a user"),
        ("etcd://alice@h/p?password_file=/nowhere/at/all", "can't be read: No such file"),
    ],
)
def test_what_makes_no_sense(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        EtcdAddress.parse(text, {})
    assert reason in str(caught.value)
    assert "hush" not in str(caught.value)


def test_what_is_meant_as_such_an_address() -> None:
    assert is_etcd_address("etcd://h/p")
    assert is_etcd_address("etcds://h/p")
    assert not is_etcd_address("etcd/p")
    assert not is_etcd_address(b"etcd://h")
