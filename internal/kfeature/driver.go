package kfeature

// Drivers has, by the name of the driver, the module or the file system, the
// options of which a monolithic kernel needs one as y. Source: Kconfig and
// Makefile of the directory that each is in.
var Drivers = map[string][]string{
	"ext2":  {"CONFIG_EXT2_FS", "CONFIG_EXT4_USE_FOR_EXT2"},
	"ext3":  {"CONFIG_EXT4_FS", "CONFIG_EXT3_FS"},
	"ext4":  {"CONFIG_EXT4_FS"},
	"xfs":   {"CONFIG_XFS_FS"},
	"btrfs": {"CONFIG_BTRFS_FS"},
	"f2fs":  {"CONFIG_F2FS_FS"},
	"vfat":  {"CONFIG_VFAT_FS"},
	"exfat": {"CONFIG_EXFAT_FS"},

	"quota_v2": {"CONFIG_QFMT_V2"},
	"utf8data": {"CONFIG_UNICODE"},

	"virtio_pci":   {"CONFIG_VIRTIO_PCI"},
	"virtio_mmio":  {"CONFIG_VIRTIO_MMIO"},
	"virtio_blk":   {"CONFIG_VIRTIO_BLK"},
	"virtio_scsi":  {"CONFIG_SCSI_VIRTIO"},
	"nvme":         {"CONFIG_BLK_DEV_NVME"},
	"ahci":         {"CONFIG_SATA_AHCI"},
	"ata_piix":     {"CONFIG_ATA_PIIX"},
	"sd_mod":       {"CONFIG_BLK_DEV_SD"},
	"megaraid_sas": {"CONFIG_MEGARAID_SAS"},
	"mptsas":       {"CONFIG_FUSION_SAS"},
	"mpt3sas":      {"CONFIG_SCSI_MPT3SAS"},
	"sym53c8xx":    {"CONFIG_SCSI_SYM53C8XX_2"},
	"vmw_pvscsi":   {"CONFIG_VMWARE_PVSCSI"},
	"xhci_hcd":     {"CONFIG_USB_XHCI_HCD"},
	"xhci_pci":     {"CONFIG_USB_XHCI_PCI"},
	"ehci_pci":     {"CONFIG_USB_EHCI_PCI"},
	"usb_storage":  {"CONFIG_USB_STORAGE"},
	"uas":          {"CONFIG_USB_UAS"},
	"usbcore":      {"CONFIG_USB"},
	"sdhci_pci":    {"CONFIG_MMC_SDHCI_PCI"},
	"mmc_block":    {"CONFIG_MMC_BLOCK"},
	"hv_vmbus":     {"CONFIG_HYPERV_VMBUS", "CONFIG_HYPERV"}, // its own option since 6.18
	"hv_storvsc":   {"CONFIG_HYPERV_STORAGE"},
	"xen_blkfront": {"CONFIG_XEN_BLKDEV_FRONTEND"},

	"dm_mod":       {"CONFIG_BLK_DEV_DM"},
	"dm_thin_pool": {"CONFIG_DM_THIN_PROVISIONING"},
	"dm_snapshot":  {"CONFIG_DM_SNAPSHOT"},
	"dm_cache":     {"CONFIG_DM_CACHE"},
	"dm_cache_smq": {"CONFIG_DM_CACHE_SMQ"},
	"dm_raid":      {"CONFIG_DM_RAID"},
	"dm_crypt":     {"CONFIG_DM_CRYPT"},
	"md_mod":       {"CONFIG_BLK_DEV_MD"},
	"linear":       {"CONFIG_MD_LINEAR"},
	"raid0":        {"CONFIG_MD_RAID0"},
	"raid1":        {"CONFIG_MD_RAID1"},
	"raid10":       {"CONFIG_MD_RAID10"},
	"raid456":      {"CONFIG_MD_RAID456"},
	"bcache":       {"CONFIG_BCACHE"},
}
