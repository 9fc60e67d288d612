"""Which addresses belong to the public internet. Anything else may be a router, cloud metadata or a database."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Translated into IPv4 on the way (RFC 6052, 8215), so what they carry counts.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


def is_public(address: Address) -> bool:
    """Whether this is an address of the public internet, also where it is wrapped into another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: ipaddress.IPv6Address) -> Address | None:
    """The IPv4 address inside a mapped, 6to4 or Teredo one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None
