#!/bin/sh
# trim.sh TREE OUT: copies from the module tree TREE (/lib/modules/RELEASE, after
# depmod) to OUT the lines of the tables that deal with storage and file
# systems. The test makes the module files themselves up.
set -eu
[ $# = 2 ] || { echo "usage: $0 TREE OUT" >&2; exit 2; }
tree=$1 out=$2
mkdir -p "$out"
want='ext4 xfs btrfs f2fs vfat exfat virtio_blk virtio_scsi virtio_pci virtio_mmio
nvme ahci ata_piix ata_generic sd_mod usb_storage uas xhci_pci ehci_pci sdhci_pci mmc_block
nls_cp437 nls_ascii i6300esb crc32c_intel crc32c_generic crc32c_cryptoapi crc32_pclmul crc32_generic
crct10dif_pclmul crct10dif_generic crc64_rocksoft_generic blake2b_generic xxhash_generic
sha256_ssse3 sha256_generic shpchp libcrc32c hv_storvsc xen_blkfront'
awk -v want="$want" -v tree="$tree" '
function name(p) { sub(/.*\//, "", p); sub(/\.ko.*/, "", p); gsub(/-/, "_", p); return p }
BEGIN {
	n = split(want, w, /[ \n]+/)
	for (i = 1; i <= n; i++) keep[w[i]] = 1
	dep = tree "/modules.dep"
	while ((getline line < dep) > 0) {
		m = split(line, f, / +/)
		sub(/:$/, "", f[1])
		if (name(f[1]) in keep) for (i = 1; i <= m; i++) file[f[i]] = 1
	}
	close(dep)
	while ((getline line < dep) > 0) {
		m = split(line, f, / +/)
		sub(/:$/, "", f[1])
		if (f[1] in file) { print line > "modules.dep"; all[name(f[1])] = 1 }
	}
	while ((getline line < (tree "/modules.softdep")) > 0) {
		split(line, f, / +/)
		if (f[2] in all) print line > "modules.softdep"
	}
	while ((getline line < (tree "/modules.alias")) > 0) {
		m = split(line, f, / +/)
		# The unusual devices of usb-storage are hundreds.
		if (f[m] in all && f[2] !~ /^usb:v[0-9A-F]/) print line > "modules.alias"
	}
}' want="$want" </dev/null
mv modules.dep modules.alias "$out/"
[ ! -e modules.softdep ] || mv modules.softdep "$out/"
cp "$tree/modules.builtin" "$out/"
tr '\0' '\n' <"$tree/modules.builtin.modinfo" |
	grep -E '\.(softdep|alias)=' | grep -E 'softdep=|alias=(fs-|crypto-crc|crypto-sha256|virtio|pci:|scsi:|usb:)' |
	tr '\n' '\0' >"$out/modules.builtin.modinfo"
