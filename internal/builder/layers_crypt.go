package builder

import (
	"strings"

	"ukdump/internal/cryptkeys"
	"ukdump/internal/host"
	"ukdump/internal/kfeature"
	"ukdump/internal/kmod"
	"ukdump/internal/plan"
)

// cryptLayer plans how a LUKS volume of a stack is opened and which modules that
// needs. The error is a *cryptkeys.UnsupportedError if the capture
// kernel cannot get its key.
func (b *Build) cryptLayer(d host.BlockDevice, stack []host.BlockDevice) (plan.Layer, []kmod.Request, error) {
	c := d.Crypt
	if kfeature.CrashDMCrypt.In(b.Kernel.Release, b.conf) == kfeature.No {
		return plan.Layer{}, nil, &cryptkeys.UnsupportedError{Kernel: b.Kernel.Path, Release: b.Kernel.Release, Volume: "LUKS volume " + d.DMName}
	}
	description := cryptkeys.Description(c.UUID)
	tab := b.host.Crypttab(d.DMName, c.UUID)
	if tab.Linked != "" {
		description = tab.Linked
	} else if tab.Where != "" && !c.InTable {
		b.warn("the next boot will not leave the volume key of %s for the capture kernel: add %s to its options in %s",
			d.DMName, cryptkeys.CrypttabOption(description), tab.Where)
	}
	if err := plan.CheckKeyDescription(description); err != nil {
		return plan.Layer{}, nil, err
	}
	l := layerOf(plan.Crypt, d.DMName, c.UUID, []host.Member{{Name: d.Below[0], ID: c.UUID}}, stack)
	l.Crypt = &plan.CryptVolume{
		Cipher: c.Cipher, KeyBytes: c.KeyBytes, KeyDescription: description,
		IVOffset: c.IVOffset, Offset: c.Offset, SectorSize: c.SectorSize, Options: c.Options, Segments: c.Segments,
	}
	for _, m := range stack {
		if m.Name == d.Below[0] {
			// A volume that does not reach to the end has its length for a reason.
			if l.Crypt.Length(m.Size) != c.Sectors {
				l.Crypt.Sectors = c.Sectors
			}
		}
	}
	return l, cryptRequests(c.Cipher, d.DMName), nil
}

// cipherParts are algorithms that templates of the crypto API request in addition to
// those in the cipher's name, until the kernel has them in a library (crypto/adiantum.c,
// crypto/hctr2.c).
var cipherParts = map[string][]string{"adiantum": {"nhpoly1305"}, "hctr2": {"xctr", "polyval"}}

// cryptRequests asks for dm-crypt and for the algorithms that it uses, by the aliases
// under which the crypto API looks for modules: nothing in the capture kernel
// could answer the kernel's own request. A cipher without a module is taken for
// built in.
func cryptRequests(cipher, volume string) []kmod.Request {
	requests := []kmod.Request{{Names: []string{"dm-crypt"}, Why: "LUKS volume " + volume}}
	seen := make(map[string]bool)
	// aes-xts-plain64, aes-cbc-essiv:sha256, capi:xts(aes)-plain64
	for _, word := range strings.FieldsFunc(cipher, func(r rune) bool { return strings.ContainsRune("-:(),", r) }) {
		switch {
		case seen[word], word == "capi", strings.HasPrefix(word, "plain"), word == "null", word == "benbi", word == "random":
			continue
		}
		seen[word] = true
		names := []string{"crypto-" + word}
		label := "cipher " + cipher
		why := label + " of LUKS volume " + volume
		for _, part := range cipherParts[word] {
			// A kernel that does without is served by the template.
			requests = append(requests, kmod.Request{Names: append([]string{"crypto-" + part}, names...), Optional: true, Why: why, Label: label})
		}
		requests = append(requests, kmod.Request{Names: names, Optional: true, Why: why, Label: label})
	}
	return requests
}
