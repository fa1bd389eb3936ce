package kimage

import (
	"bytes"
	"strings"
)

// bannerPrefix begins linux_banner and /proc/version (init/version.c).
const bannerPrefix = "Linux version "

// answer is what a banner says about a build.
type answer int

const (
	unknown answer = iota
	yes
	no
)

// runs reports whether im is the build whose banner /proc/version shows: RELEASE
// (USER@HOST) (COMPILER) VERSION. An arm64 Image has the same banner. A bzImage has it
// without the compiler (arch/x86/boot/version.c).
func (im *Image) runs(banner string) answer {
	banner = strings.TrimSpace(banner)
	own := strings.TrimSpace(im.banner)
	if own == "" {
		return unknown
	}
	if strings.HasPrefix(own, bannerPrefix) {
		return answerOf(own == banner)
	}
	before, version, ok := strings.Cut(own, ") #")
	if !ok || !strings.Contains(before, " (") {
		return unknown
	}
	return answerOf(strings.HasPrefix(banner, bannerPrefix+before+") (") && strings.HasSuffix(banner, " #"+version))
}

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// x86Banner returns the version string of a bzImage, of which data has at least the
// setup sectors; nil if there is none.
func x86Banner(data []byte) []byte {
	// The pointer counts from the end of the boot sector.
	at := 512 + int(le.Uint16(data[x86KernelVersion:]))
	end := min(x86SetupSize(data), len(data))
	if at <= 512 || at >= end {
		return nil
	}
	version, _, _ := bytes.Cut(data[at:end], []byte{0})
	return version
}

// x86SetupSize returns the bytes before the protected-mode kernel.
func x86SetupSize(data []byte) int {
	sects := int(data[x86SetupSects])
	if sects == 0 {
		sects = 4 // boot.rst: for backwards compatibility
	}
	return (sects + 1) * 512
}
