export PATH=/usr/bin:/bin HOME=/root LC_ALL=C
mkdir -p /proc /sys /dev /tmp /run /var /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
while read -r module; do insmod "/guest/modules/$module" || echo "GUEST FAIL module $module"; done </guest/modules/order
ip link set lo up
gunzip -c /guest/quota.img.gz >/var/quota.img
mkdir /quota
mount -o loop,prjquota -t ext4 /var/quota.img /quota
# a disk, where there is one, keeps the data root over boots
if [ -b /dev/nvme0n1 ]; then mkdir -p /var/lib/berth && mount -t ext4 /dev/nvme0n1 /var/lib/berth; fi
echo 1 >/proc/sys/kernel/panic
echo "GUEST booted $(uname -r) after $(cut -d' ' -f1 /proc/uptime) s"
scenario=$(sed 's/.*scenario=\([a-z]*\).*/\1/' /proc/cmdline)
BUN_BE_BUN=1 /usr/bin/berth run "/guest/$scenario.ts"
echo "GUEST end $?"
poweroff -f
