#!/bin/sh
# Makes the images behind the samples in DIRECTORY; then record them:
#
#	testdata/make.sh DIRECTORY
#	go test ./internal/fsid -run TestRecord -args -record DIRECTORY
#
# Needs root (two tools insist on a loop device) and e2fsprogs xfsprogs
# btrfs-progs f2fs-tools dosfstools exfatprogs cryptsetup-bin lvm2 bcache-tools
# squashfs-tools erofs-utils genisoimage python3. make.py makes what needs a
# kernel driver.
set -eu
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
cd "$1"
u=01234567-89ab-cdef-0123-456789abcdef
new() { rm -f "$1.img"; truncate -s "$2" "$1.img"; }

new ext2 8M;            mkfs.ext2 -q -L lab-ext2 -U $u ext2.img
new ext3 16M;           mkfs.ext3 -q -L lab-ext3 -U $u ext3.img
new ext4 16M;           mkfs.ext4 -q -L lab-ext4 -U $u ext4.img
new ext4-nojournal 16M; mkfs.ext4 -q -O ^has_journal -U $u ext4-nojournal.img
new ext4-plain 16M      # made by mkfs.ext4, yet nothing in it is beyond ext3
mkfs.ext4 -q -O ^extent,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize,^metadata_csum -U $u ext4-plain.img
new ext2-journaldev 16M; mke2fs -q -O journal_dev -b 4096 -U $u ext2-journaldev.img
new xfs 300M;           mkfs.xfs -q -L lab-xfs -m uuid=$u xfs.img
new btrfs 140M;         mkfs.btrfs -q -L lab-btrfs -U $u btrfs.img
new btrfs2a 140M; new btrfs2b 140M
mkfs.btrfs -q -d raid1 -m raid1 -L two btrfs2a.img btrfs2b.img
new f2fs 64M;           mkfs.f2fs -q -l lab-f2fs f2fs.img
new vfat12 1440K;       mkfs.vfat -F12 -n LAB12 -i 12ab34cd vfat12.img
new vfat16 16M;         mkfs.vfat -F16 -n LAB16 -i 12ab34cd vfat16.img
new vfat32 64M;         mkfs.vfat -F32 -n "LAB 32" -i 12ab34cd vfat32.img
new vfat32-nolabel 64M; mkfs.vfat -F32 -i 00000001 vfat32-nolabel.img
new vfat32-s4k 300M;    mkfs.vfat -F32 -S 4096 -n BIGSEC -i 12ab34cd vfat32-s4k.img
new vfat32-lower 64M;   mkfs.vfat -F32 -n Lower -i abcdef01 vfat32-lower.img
new exfat 32M;          mkfs.exfat -L lab-exfat exfat.img
new swap 1M;            mkswap -q -L lab-swap -U $u swap.img
new swap64k 1M;         mkswap -q -p 65536 -L lab-swap -U $u swap64k.img
new luks1 4M
echo -n pass | cryptsetup -q luksFormat --type luks1 --uuid $u --pbkdf-force-iterations 1000 luks1.img -
new luks2 20M
echo -n pass | cryptsetup -q luksFormat --type luks2 --uuid $u --label lab-luks --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks2.img -

rm -rf d; mkdir d; echo hello > d/a
mksquashfs d squashfs.img -quiet -no-progress -noappend
mkfs.erofs -U $u erofs.img d
genisoimage -quiet -V LABISO -R -o iso9660.img d

new bcache 20M; loop=$(losetup -f --show bcache.img); make-bcache -B "$loop"; losetup -d "$loop"
new lvm 20M;    loop=$(losetup -f --show lvm.img); pvcreate -q "$loop" --devices "$loop"; losetup -d "$loop"

python3 "$here/make.py"

# Disks with partition tables, whose non-zero bytes are in testdata/partitions.
new gpt512 8M; sfdisk -q gpt512.img <<TABLE
label: gpt
label-id: 11111111-2222-3333-4444-555555555555
1: start=2048, size=2048, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE
3: start=6144, size=2048, uuid=01234567-89AB-CDEF-0123-456789ABCDEF
TABLE
new mbr 16M; sfdisk -q mbr.img <<TABLE
label: dos
label-id: 0x0a1b2c3d
1: start=2048, size=2048, type=83
2: start=4096, size=16384, type=5
5: start=6144, size=2048, type=82
6: start=10240, size=2048, type=83
TABLE
new gpt4k 32M; loop=$(losetup -b 4096 -f --show gpt4k.img); sfdisk -q "$loop" <<TABLE
label: gpt
1: start=512, size=256, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE
TABLE
losetup -d "$loop"
mkdir -p partitions && mv gpt512.img mbr.img gpt4k.img partitions
