package kfeature

// PartitionTables are the parsers of partition tables, by the name that blkid(8) gives
// a table as PTTYPE. Without its parser the partitions of a disk do not appear.
// Source: block/partitions/Kconfig.
var PartitionTables = map[string]Feature{
	"gpt":         partitions("GPT", "CONFIG_EFI_PARTITION"),
	"dos":         partitions("MBR", "CONFIG_MSDOS_PARTITION"),
	"aix":         partitions("AIX", "CONFIG_AIX_PARTITION"),
	"atari":       partitions("Atari", "CONFIG_ATARI_PARTITION"),
	"bsd":         partitions("BSD", "CONFIG_BSD_DISKLABEL"),
	"mac":         partitions("Macintosh", "CONFIG_MAC_PARTITION"),
	"minix":       partitions("Minix", "CONFIG_MINIX_SUBPARTITION"),
	"sgi":         partitions("SGI", "CONFIG_SGI_PARTITION"),
	"solaris-x86": partitions("Solaris", "CONFIG_SOLARIS_X86_PARTITION"),
	"sun":         partitions("Sun", "CONFIG_SUN_PARTITION"),
	"ultrix":      partitions("Ultrix", "CONFIG_ULTRIX_PARTITION"),
	"unixware":    partitions("UnixWare", "CONFIG_UNIXWARE_DISKLABEL"),
	"cmdline":     partitions("command line", "CONFIG_CMDLINE_PARTITION"), // not of blkid(8)
}

func partitions(name, option string) Feature {
	return Feature{Name: name, By: Target, Option: option,
		Why: "without it the partitions of the disk do not appear", Source: "block/partitions/Kconfig"}
}
