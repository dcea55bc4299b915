#!/bin/busybox sh
# The guest's first process: a small Linux on cgroup v2, then the scenario, then off.
bb=/bin/busybox
$bb --install -s /bin
# pivot_root, which runtimes use, refuses the initramfs itself: a bind mount of it on top will do.
mkdir /newroot
mount -o bind / /newroot
cd /newroot
mount --move . /
exec chroot . /bin/busybox sh /guest/start.sh
