# SPDX-License-Identifier: GPL-2.0-or-later
"""
Files
-----

Helpers for ``include/linux/fs.h``: the names of inodes, and of what a page cache
belongs to.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from drgn import FaultError, Object, Program, TypeKind, container_of
from drgn.helpers.linux.block import part_name
from drgn.helpers.linux.fs import d_path

from pagedbg.mm.bulk_read import c_string
from pagedbg.target.links import UNREADABLE, bounded, limited

__all__ = ("address_space_kind", "address_space_name", "inode_name")


def address_space_kind(mapping: Object) -> str:
    """
    Say what the page cache of an address space belongs to.

    :param mapping: ``struct address_space *``
    :return: ``file``, ``block device``, ``secretmem`` or ``swap cache``, empty if this
        is no address space.
    """
    host = mapping.host.read_()
    if not host:
        return "swap cache"
    # Something else may be kept in page->mapping: an inode's i_mapping leads back,
    # mostly to itself.
    sb = host.i_sb.value_()
    if not host.i_mapping or not sb:
        return ""
    if sb == _secretmem_sb(mapping.prog_):
        return "secretmem"
    return "block device" if stat.S_ISBLK(host.i_mode.value_()) else "file"


def _secretmem_sb(prog: Program) -> int | None:
    """The address of the file system of memfd_secret(); None if there is none."""
    try:
        return prog.cache["pagedbg_secretmem_sb"]  # type: ignore[no-any-return]
    except KeyError:
        pass
    found = None
    try:
        # mm/secretmem.c; it is there from the start, or never.
        at = prog.symbol("secretmem_mnt").address
        mount = Object(prog, "struct vfsmount *", address=at).read_()
        found = mount.mnt_sb.value_()
    except UNREADABLE:
        pass
    prog.cache["pagedbg_secretmem_sb"] = found
    return found


def address_space_name(mapping: Object) -> str | None:
    """
    Get the name of the file or the block device that an address space belongs to; None
    if it is the swap cache.

    :param mapping: ``struct address_space *``
    """
    host = mapping.host.read_()
    if not host:
        return None
    if stat.S_ISBLK(host.i_mode.value_()):
        bdev = container_of(host, "struct bdev_inode", "vfs_inode").bdev
        name: bytes = limited(part_name, bdev.address_of_())
        return name.decode("utf-8", "backslashreplace")
    try:
        return inode_name(host)
    except FaultError:
        return f"inode {host.i_ino.value_()}"


def inode_name(inode: Object) -> str:
    """
    Get a path of an inode, marked `` (deleted)`` where it is, or for want of one its
    number, file system and device.

    :param inode: ``struct inode *``
    """
    first = inode.i_dentry.first.read_()
    if not first:
        return _number(inode)
    # Before Linux kernel commit 3b7d764a37d0 ("struct dentry: make ->d_u anonymous")
    # (in v7.1), the union had a name.
    member = (
        "d_alias"
        if inode.prog_.type("struct dentry").has_member("d_alias")
        else "d_u.d_alias"
    )
    dentry = container_of(first, "struct dentry", member)
    d_op = dentry.d_op.read_()
    if d_op and d_op.d_dname:
        # A file without a directory: memfd:NAME, SYSV00000000, dev/zero. As
        # simple_dname() in fs/d_path.c.
        return f"/{_text(dentry.d_name.name)} (deleted)"
    try:
        path = limited(d_path, dentry).decode("utf-8", "backslashreplace")
    except ValueError:
        # Mounted nowhere.
        return _number(inode)
    except FaultError:
        # A directory above it is not in the dump.
        return _end_of_path(dentry) or _number(inode)
    deleted = not dentry.d_hash.pprev and dentry.d_parent != dentry
    return f"{path} (deleted)" if deleted else path


def _number(inode: Object) -> str:
    """
    Get the number of an inode, with its file system and device.

    :param inode: ``struct inode *``
    """
    sb = inode.i_sb.read_()
    return f"inode {inode.i_ino.value_()} of {_text(sb.s_type.name)} ({_text(sb.s_id)})"


def _end_of_path(dentry: Object) -> str | None:
    """
    Get as much of the end of a path as can be read.

    :param dentry: ``struct dentry *``
    """
    names: list[str] = []
    try:
        for each in bounded(_upwards(dentry)):
            names.insert(0, _text(each.d_name.name))
    except FaultError:
        pass
    return f"…/{'/'.join(names)}" if names else None


def _upwards(dentry: Object) -> Iterator[Object]:
    """Iterate over a dentry and its parents, without the root."""
    while (parent := dentry.d_parent.read_()) != dentry:
        yield dentry
        dentry = parent


def _text(string: Object) -> str:
    """The text of an array or behind a pointer."""
    chars = (
        c_string(string)
        if string.type_.unaliased_kind() == TypeKind.POINTER
        else string.string_()
    )
    return str(chars.decode("utf-8", "backslashreplace"))
