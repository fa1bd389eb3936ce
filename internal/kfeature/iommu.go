package kfeature

// IOMMUs are the drivers of IOMMUs, by the beginning of the name that each has in
// /sys/class/iommu. A capture kernel without the driver cannot change the translation
// that the crashed kernel has left behind.
var IOMMUs = []struct {
	Prefix string
	Feature
}{
	{"dmar", iommu("Intel VT-d", "amd64", "CONFIG_INTEL_IOMMU", "drivers/iommu/intel/dmar.c")},
	{"ivhd", iommu("AMD-Vi", "amd64", "CONFIG_AMD_IOMMU", "drivers/iommu/amd/init.c")},
	{"smmu3.", iommu("SMMU version 3", "arm64", "CONFIG_ARM_SMMU_V3", "drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c")},
	{"smmu.", iommu("SMMU", "arm64", "CONFIG_ARM_SMMU", "drivers/iommu/arm/arm-smmu/arm-smmu.c")},
}

func iommu(name, arch, option, source string) Feature {
	return Feature{Name: name, By: Target, Arch: arch, Option: option,
		Why: "the memory accesses of the disk's controller are still translated", Source: source}
}
