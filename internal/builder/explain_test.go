package builder

import (
	"errors"
	"strings"
	"testing"

	"ukdump/internal/advice"
	"ukdump/internal/kimage"
	"ukdump/internal/kmod"
)

// A missing module's error says why it is missing, as far as the configuration shows it.
func TestExplain(t *testing.T) {
	missing := func(name string) error {
		return &kmod.MissingError{Release: "6.1.0", Request: kmod.Request{Names: []string{name}, Why: "driver " + name}}
	}
	const (
		text   = "kernel 6.1.0 has no module for driver megaraid_sas: looked for megaraid_sas"
		choose = "Choose a kernel that has it"
	)
	other := errors.New("another error")
	for _, tt := range []struct {
		name, kernel string
		conf         []string // nil: not known
		err          error
		want, advice string // advice is its begin
	}{
		{"built without it", "/boot/vmlinuz", []string{"CONFIG_Y=y"}, missing("megaraid_sas"), text + "; it was built without CONFIG_MEGARAID_SAS (CONF)", choose},
		{"not installed", "/boot/vmlinuz", []string{"CONFIG_MEGARAID_SAS=m"}, missing("megaraid_sas"),
			text + "; CONFIG_MEGARAID_SAS makes it a module, which is not installed", "Install the package"},
		{"the small kernel's", kmod.CaptureKernelDir + "/vmlinuz", []string{"CONFIG_MEGARAID_SAS=m"}, missing("megaraid_sas"),
			text + "; CONFIG_MEGARAID_SAS makes it a module, which is not installed", "Install the capture kernel again"},
		{"built in and not listed", "/boot/vmlinuz", []string{"CONFIG_MEGARAID_SAS=y"}, missing("megaraid_sas"), text, choose},
		{"configuration not known", "/boot/vmlinuz", nil, missing("megaraid_sas"), text, choose},
		{"no option known", "/boot/vmlinuz", []string{"CONFIG_Y=y"}, missing("foo"), strings.ReplaceAll(text, "megaraid_sas", "foo"), choose},
		{"another error", "/boot/vmlinuz", []string{"CONFIG_Y=y"}, other, "another error", ""},
	} {
		b := &Build{Kernel: &kimage.Image{Path: tt.kernel}}
		got := ""
		if tt.conf != nil {
			b.conf = kernelConfig(t, tt.conf...)
			got = strings.ReplaceAll(b.explain(tt.err).Error(), b.conf.Source, "CONF")
		} else {
			got = b.explain(tt.err).Error()
		}
		if got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
		if a := advice.For(b.explain(tt.err)); !strings.HasPrefix(a, tt.advice) || tt.advice == "" && a != "" {
			t.Errorf("%s: advice %q, want %q", tt.name, a, tt.advice)
		}
	}
}
